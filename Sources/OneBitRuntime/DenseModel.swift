import Foundation
import LanguageModel
import ModelDescription

/// A model that is not packed, on the CPU without libtorch: the teacher that writes a corpus.
///
/// Weights are held once, in 16 bits where their file does or the arithmetic is `bfloat16`; keys and values in 16-bit floats;
/// the residual stream, norms and all sums in 32-bit floats. Immutable: any number of decoding contexts may use it at the same
/// time. As with a ``PackedModel``, the logits of a token depend on the tokens before it and on nothing else: not on the
/// number of threads, nor on how many tokens or sequences were computed together. Unlike there, their last bits depend on
/// ``kernels``.
public final class DenseModel: HiddenStateModel {
    public let configuration: ModelConfiguration
    /// What inputs and weights of the products are rounded to.
    public let arithmetic: DenseArithmetic
    /// Name of the version of the products that it runs with.
    public let kernels: String
    /// Threads that share the work.
    public let threads: Int
    /// Bytes of weights that one pass reads.
    public var bytesPerToken: Int { backEnd.bytesPerToken }

    private let backEnd: any BackEnd

    /// Loads a dense checkpoint.
    ///
    /// - Parameters:
    ///   - checkpoint: of a dense model.
    ///   - arithmetic: what products are computed in; nil is bfloat16 where the CPU has products of these, and floats elsewhere.
    ///   - threads: to compute with; nil is as many as there are physical cores.
    /// - Throws: `CheckpointError` when the checkpoint is not a dense one, ``RuntimeError``, ``InstructionSetError``,
    ///   `LanguageModelError.notEnoughMemory`, and `CancellationError` within a fraction of a second when the task is
    ///   cancelled.
    public convenience init(checkpoint: Checkpoint, arithmetic: DenseArithmetic? = nil, threads: Int? = nil) throws {
        guard let kernels = DenseKernels.best(arithmetic) else {
            throw InstructionSetError.unsupported(
                name: arithmetic?.rawValue ?? "dense products", available: DenseKernels.available.map(\.name))
        }
        try self.init(checkpoint: checkpoint, kernels: kernels, threads: threads)
    }

    init(checkpoint: Checkpoint, kernels: DenseKernels, threads: Int?) throws {
        try checkpoint.require(.dense)
        // At most: panels are filled up to whole ones, and bfloat16 halves what is stored in floats.
        try AvailableMemory.require(checkpoint.byteCount, for: "\(checkpoint.directory.path): the model")
        let cpu = try CPUBackEnd(dense: checkpoint, kernels: kernels, threads: threads)
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
