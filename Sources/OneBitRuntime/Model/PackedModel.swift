import Foundation
import ModelFiles

/// A packed OneBit model of the LLaMA family, run from its memory-mapped checkpoint without libtorch:
///
///     x = embedding[tokens];   x = block(x) for every block;   logits = RMSNorm(x) Whᵀ
///
/// Immutable: any number of decoders may use it at the same time. The logits of a token depend on the tokens before it
/// and on nothing else: not on the number of threads, on the instruction set, nor on how many tokens were fed at once.
public final class PackedModel: CausalLanguageModel {
    public let configuration: ModelConfiguration
    /// Precision of the sign layers' inputs.
    public var inputPrecision: InputPrecision { execution.inputPrecision }
    /// The kernels that it runs with.
    public var instructionSet: InstructionSet { execution.instructionSet }
    /// Threads that share the work.
    public var threads: Int { execution.pool.threadCount }

    /// `model.embed_tokens`
    let embedding: FloatMatrix
    /// `model.layers`
    let blocks: [DecoderBlock]
    /// `model.norm`
    let norm: RMSNorm
    /// `lm_head`, or the embedding where they are tied
    let head: FloatMatrix
    let rotary: RotaryEmbedding
    let execution: Execution

    /// Loads a packed checkpoint: maps it, reads the value vectors, and leaves the signs where they are.
    ///
    /// - Parameters:
    ///   - threads: threads to compute with; nil is as many as the machine has cores.
    ///   - inputPrecision: bits to which the inputs of the sign layers are quantised.
    ///   - instructionSet: the kernels; nil is what the environment or the CPU says.
    /// - Throws: `CheckpointError` when the checkpoint is not a packed one or a scale is not finite,
    ///   ``RuntimeError/layerTooWide(directory:tensor:inputs:maximum:)``, ``InstructionSetError``.
    public init(
        checkpoint: Checkpoint,
        threads: Int? = nil,
        inputPrecision: InputPrecision = .bits16,
        instructionSet: InstructionSet? = nil
    ) throws {
        try checkpoint.require(.packed)
        let configuration = checkpoint.configuration
        let instructionSet = try instructionSet ?? InstructionSet.selected()
        let embeddingShape = configuration.inputTensors[0]
        let outputs = configuration.outputTensors
        embedding = try FloatMatrix(
            embeddingShape.name,
            rows: configuration.vocabularySize,
            columns: configuration.hiddenSize,
            of: checkpoint
        )
        blocks = try (0..<configuration.layerCount).map { try DecoderBlock(layer: $0, of: checkpoint) }
        norm = try RMSNorm(outputs[0].name, epsilon: configuration.normEpsilon, of: checkpoint)
        head = try FloatMatrix(
            configuration.tiedEmbeddings ? embeddingShape.name : outputs[1].name,
            rows: configuration.vocabularySize,
            columns: configuration.hiddenSize,
            of: checkpoint
        )
        rotary = RotaryEmbedding(headSize: configuration.headSize, base: configuration.ropeTheta)
        self.configuration = configuration
        execution = Execution(
            instructionSet: instructionSet,
            pool: WorkerPool(threadCount: threads ?? ProcessInfo.processInfo.activeProcessorCount),
            inputPrecision: inputPrecision
        )
    }

    /// Opens and loads the packed checkpoint in a directory.
    ///
    /// - Throws: what `Checkpoint` and ``init(checkpoint:threads:inputPrecision:instructionSet:)`` throw.
    public convenience init(
        directory: URL,
        threads: Int? = nil,
        inputPrecision: InputPrecision = .bits16,
        instructionSet: InstructionSet? = nil
    ) throws {
        try self.init(
            checkpoint: Checkpoint(directory: directory),
            threads: threads,
            inputPrecision: inputPrecision,
            instructionSet: instructionSet
        )
    }

    /// Logits of every position.
    ///
    /// - Throws: ``RuntimeError``
    public func logits(of tokens: [Int]) throws -> [Float] {
        try PackedDecoder(model: self).logits(appending: tokens)
    }

    public func makeDecoder() throws -> any TokenDecoder { PackedDecoder(model: self) }
}
