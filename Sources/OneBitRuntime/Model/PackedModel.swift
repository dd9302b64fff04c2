import Foundation
import ModelFiles

/// A packed OneBit model of the LLaMA family, run from its memory-mapped checkpoint without libtorch.
///
/// Immutable: any number of decoders may use it at the same time. The logits of a token depend on the tokens before it
/// and on nothing else: not on the number of threads, on the instruction set, nor on how many tokens or sequences were
/// computed together.
public final class PackedModel: CausalLanguageModel {
    public let configuration: ModelConfiguration
    /// Precision of the sign layers' inputs.
    public var inputPrecision: InputPrecision { execution.inputPrecision }
    /// The kernels that it runs with.
    public var instructionSet: InstructionSet { execution.instructionSet }
    /// Threads that share the work.
    public var threads: Int { execution.team.threadCount }
    /// Bytes of weights that generating one token reads: signs, value vectors and output projection.
    public let bytesPerToken: Int

    /// `model.embed_tokens`
    let embedding: FloatMatrix
    /// `model.layers`
    let blocks: [DecoderBlock]
    /// `model.norm`
    let norm: RMSNorm
    /// `lm_head`, or the embedding where they are tied
    let head: OutputHead
    let rotary: RotaryEmbedding
    let execution: Execution

    /// Loads a packed checkpoint: maps it, reads the value vectors, and maps the signs in the order that the kernels
    /// want, which the first load of a checkpoint makes.
    ///
    /// - Throws: `CheckpointError` when the checkpoint is not a packed one or a scale is not finite,
    ///   ``RuntimeError``, ``InstructionSetError``.
    public init(checkpoint: Checkpoint, options: LoadOptions = LoadOptions()) throws {
        try checkpoint.require(.packed)
        let configuration = checkpoint.configuration
        let instructionSet = try options.instructionSet ?? InstructionSet.selected()
        try AvailableMemory.require(checkpoint.byteCount, for: "\(checkpoint.directory.path): the model")
        execution = Execution(
            instructionSet: instructionSet,
            team: Team(threadCount: options.threads ?? PhysicalCores.count),
            inputPrecision: options.inputPrecision
        )
        let kernels = instructionSet.kernels
        let layout = instructionSet.layout
        let embeddingShape = configuration.inputTensors[0]
        let outputs = configuration.outputTensors
        embedding = try FloatMatrix(
            embeddingShape.name, rows: configuration.vocabularySize, columns: configuration.hiddenSize, of: checkpoint)
        let signs = try SignLayoutCache(checkpoint: checkpoint, layout: layout, team: execution.team)
            .load(policy: options.layoutPolicy, report: options.report)
        let perBlock = configuration.blockLinears(layer: 0).count
        blocks = try (0..<configuration.layerCount).map {
            try DecoderBlock(
                layer: $0, signs: signs[$0 * perBlock..<($0 + 1) * perBlock], layout: layout, of: checkpoint)
        }
        norm = try RMSNorm(outputs[0].name, epsilon: configuration.normEpsilon, of: checkpoint)
        let storedHead = try FloatMatrix(
            configuration.tiedEmbeddings ? embeddingShape.name : outputs[1].name,
            rows: configuration.vocabularySize, columns: configuration.hiddenSize, of: checkpoint)
        head =
            switch options.headPrecision {
            case .stored: .stored(storedHead)
            case .bits8: .quantized(try QuantizedMatrix(storedHead, kernels: kernels))
            }
        rotary = RotaryEmbedding(headSize: configuration.headSize, base: configuration.ropeTheta)
        bytesPerToken = configuration.linears.reduce(head.byteCount) { bytes, linear in
            let values = (linear.inputs + linear.outputs) * MemoryLayout<Float>.size
            return bytes + values + layout.byteCount(rows: linear.outputs, columns: linear.inputs)
        }
        self.configuration = configuration
    }

    /// Opens and loads the packed checkpoint in a directory.
    ///
    /// - Throws: what `Checkpoint` and ``init(checkpoint:options:)`` throw.
    public convenience init(directory: URL, options: LoadOptions = LoadOptions()) throws {
        try self.init(checkpoint: Checkpoint(directory: directory), options: options)
    }

    /// Logits of every position.
    ///
    /// - Throws: ``RuntimeError``
    public func logits(of tokens: [Int]) throws -> [Float] {
        try check(tokens)
        return try PackedDecoder(model: self, contextLength: tokens.count).logits(appending: tokens)
    }

    /// - Throws: ``RuntimeError``
    public func makeDecoder(contextLength: Int?) throws -> any TokenDecoder {
        let longest = configuration.maximumPositions
        return try PackedDecoder(model: self, contextLength: max(1, min(contextLength ?? longest, longest)))
    }
}
