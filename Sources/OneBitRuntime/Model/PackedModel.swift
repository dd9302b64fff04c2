import Foundation
import LanguageModel
import ModelDescription

/// A packed OneBit model, run from its memory-mapped checkpoint without libtorch.
///
/// Immutable: any number of decoders may use it at the same time. The logits of a token depend on the tokens before it
/// and on nothing else: not on the number of threads, on the instruction set, nor on how many tokens or sequences were
/// computed together. One exception: with dynamic rotary scaling, beyond the original context, they depend on the length
/// of the sequence, as in transformers.
public final class PackedModel: HiddenStateModel {
    public let configuration: ModelConfiguration
    /// Precision of the sign layers' inputs.
    public var inputPrecision: InputPrecision { execution.inputPrecision }
    /// The kernels that it runs with.
    public var instructionSet: InstructionSet { execution.instructionSet }
    /// Threads that share the work.
    public var threads: Int { execution.team.threadCount }
    /// Bytes of weights that generating one token reads: signs, value vectors and output projection.
    public let bytesPerToken: Int

    let embedding: TokenEmbedding
    let blocks: [DecoderBlock]
    let head: OutputHead
    /// nil where positions are learned.
    let rotary: RotaryEmbedding?
    let execution: Execution

    /// Loads a packed checkpoint: maps it, reads the value vectors, and maps the signs in the order that the kernels
    /// want, which the first load of a checkpoint makes.
    ///
    /// - Throws: `CheckpointError` when the checkpoint is not a packed one or a scale is not finite,
    ///   `LanguageModelError`, ``RuntimeError``, ``InstructionSetError``.
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
        let layout = instructionSet.layout
        embedding = try TokenEmbedding(of: checkpoint)
        let signs = try SignLayoutCache(checkpoint: checkpoint, layout: layout, team: execution.team)
            .load(policy: options.layoutPolicy, report: options.report)
        let perBlock = configuration.blockLinears(layer: 0).count
        blocks = try (0..<configuration.layerCount).map {
            try DecoderBlock(
                layer: $0, signs: signs[$0 * perBlock..<($0 + 1) * perBlock], layout: layout, of: checkpoint)
        }
        head = try OutputHead(of: checkpoint, precision: options.headPrecision, kernels: instructionSet.kernels)
        if case .rotary(let positions) = configuration.structure.positions {
            rotary = RotaryEmbedding(positions, headSize: configuration.headSize)
        } else {
            rotary = nil
        }
        bytesPerToken = configuration.linears.reduce(head.byteCount) { bytes, linear in
            let count = linear.inputs + linear.outputs * (linear.hasBias ? 2 : 1)
            let values = count * MemoryLayout<Float>.size
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
    /// - Throws: `LanguageModelError`, ``RuntimeError``
    public func logits(of tokens: [Int]) throws -> [Float] {
        try check(tokens)
        var logits: [Float] = []
        logits.reserveCapacity(tokens.count * configuration.vocabularySize)
        try PackedDecoder(model: self, contextLength: tokens.count).advance(by: tokens) { logits += $0 }
        return logits
    }

    /// - Throws: `LanguageModelError`, ``RuntimeError``
    public func states(of tokens: [Int]) throws -> ModelStates {
        try check(tokens)
        let states = try HiddenStates(configuration: configuration, rows: tokens.count)
        let pass = try ForwardPass(
            model: self, rows: tokens.count, logitRows: tokens.count, positions: tokens.count)
        pass.begin()
        pass.append(tokens[...], to: try KeyValueCache(configuration: configuration, capacity: tokens.count))
        try pass.run(logitRows: 0..<tokens.count, hiddenStates: states)
        return ModelStates(
            logits: Array(UnsafeBufferPointer(start: pass.logits.pointer, count: pass.logits.count)),
            hiddenStates: states.arrays)
    }

    /// - Throws: `LanguageModelError`, ``RuntimeError``
    public func makeDecoder(contextLength: Int?) throws -> any TokenDecoder {
        let longest = configuration.maximumPositions
        return try PackedDecoder(model: self, contextLength: max(1, min(contextLength ?? longest, longest)))
    }
}
