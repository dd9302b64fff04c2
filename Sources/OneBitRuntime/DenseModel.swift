import Foundation
import LanguageModel
import ModelDescription

/// A model that is not packed, such as a teacher, on the CPU without libtorch.
///
/// Products read the weights where their files are mapped: they are in memory once, in the system's page cache, whatever number
/// of processes runs the model. Keys and values are in 16-bit floats; the residual stream, norms and all sums in 32-bit
/// floats. Immutable: any number of decoding contexts may use it at the same time. As with a ``PackedModel``, the logits
/// of a token depend on the tokens before it and on nothing else: not on the number of threads, nor on how many tokens or
/// sequences were computed together. Unlike there, their last bits depend on ``kernels``.
public final class DenseModel: HiddenStateModel {
    public let configuration: ModelConfiguration
    /// What inputs and weights of the products are rounded to.
    public let arithmetic: DenseArithmetic
    /// Name of the version of the products that it runs with.
    public let kernels: String
    /// Threads that share the work.
    public let threads: Int
    /// Bytes of weights that generating one token reads: linear layers and output projection.
    public var bytesPerToken: Int { backEnd.bytesPerToken }

    let backEnd: any BackEnd

    /// Maps a dense checkpoint and looks at its weights once, which reads them from the disk where they are not in memory yet.
    ///
    /// A model that does not fit into memory is refused although it would run: every token would read it from the disk.
    ///
    /// - Parameters:
    ///   - checkpoint: of a dense model.
    ///   - arithmetic: what products are computed in.
    ///   - threads: to compute with; nil is as many as there are physical cores.
    ///   - instructionSet: the kernels; nil is what the environment or the CPU says.
    ///   - inputPrecision: to what the inputs of the blocks' linear layers are rounded, as a packed model's are; nil leaves
    ///     them as they are.
    /// - Throws: `CheckpointError` when the checkpoint is not a dense one, `TensorFileError` when a weight is not finite,
    ///   ``RuntimeError``, ``InstructionSetError``, `LanguageModelError.notEnoughMemory`, and `CancellationError` within a
    ///   fraction of a second when the task is cancelled.
    public convenience init(
        checkpoint: Checkpoint, arithmetic: DenseArithmetic = .float32, threads: Int? = nil,
        instructionSet: InstructionSet? = nil, inputPrecision: InputPrecision? = nil
    ) throws {
        let instructionSet = try instructionSet ?? InstructionSet.selected()
        guard let kernels = DenseKernels.best(arithmetic, of: instructionSet) else {
            throw InstructionSetError.unsupported(
                name: arithmetic.rawValue, available: DenseKernels.available.map(\.name))
        }
        try self.init(
            checkpoint: checkpoint, kernels: kernels, instructionSet: instructionSet, threads: threads,
            inputPrecision: inputPrecision)
    }

    init(
        checkpoint: Checkpoint, kernels: DenseKernels, instructionSet: InstructionSet, threads: Int?,
        inputPrecision: InputPrecision? = nil
    ) throws {
        try checkpoint.require(.dense)
        try AvailableMemory.require(checkpoint.byteCount, for: "\(checkpoint.directory.path): the model")
        let cpu = try CPUBackEnd(
            dense: checkpoint, kernels: kernels, instructionSet: instructionSet, threads: threads,
            inputPrecision: inputPrecision)
        configuration = checkpoint.configuration
        arithmetic = kernels.arithmetic
        self.kernels = kernels.name
        self.threads = cpu.pool.threadCount
        backEnd = cpu
    }

    /// Bytes of keys and values in 16-bit floats.
    public func cacheByteCount(positions: Int) -> Int { backEnd.cacheByteCount(positions: positions) }

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    public func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        try backEnd.makeDecodingContext(limits)
    }

    /// - Throws: `LanguageModelError`
    public func states(of tokens: [Int]) throws -> ModelStates {
        try check(tokens)
        return try backEnd.states(of: tokens)
    }
}
