// OneBitRuntime: packed models on the CPU, and what an app imports. May import LanguageModel, SignDecomposition, TensorFiles
// and CSignKernels; never libtorch.

import Foundation
@_exported import LanguageModel
import ModelDescription

/// Loads the model of a directory, a packed or a dense one, with its tokenizer and its chat template, on a thread of its own.
///
///     let model = try await loadModel(from: directory)
///
/// - Throws: `CheckpointError`, `TokenizerError`, `LanguageModelError`, ``InstructionSetError``.
public func loadModel(from directory: URL, options: LoadOptions = LoadOptions()) async throws -> ModelContainer {
    try await SerialTaskExecutor().run {
        let checkpoint = try Checkpoint(directory: directory)
        let model: any CausalLanguageModel =
            if checkpoint.kind == .dense {
                try DenseModel(
                    checkpoint: checkpoint, threads: options.threads, instructionSet: options.instructionSet)
            } else {
                try PackedModel(checkpoint: checkpoint, options: options)
            }
        return try ModelContainer(model: model, directory: directory)
    }
}

/// A packed OneBit model, run from its memory-mapped checkpoint without libtorch.
///
/// Immutable: any number of decoding contexts may use it at the same time. The logits of a token depend on the tokens
/// before it and on nothing else: not on the number of threads, on the instruction set, nor on how many tokens or sequences
/// were computed together. One exception: with dynamic rotary scaling, beyond the original context, they depend on the
/// length of the sequence, as in transformers.
public final class PackedModel: HiddenStateModel {
    public let configuration: ModelConfiguration
    /// Precision of the sign layers' inputs.
    public let inputPrecision: InputPrecision
    /// The kernels that it runs with.
    public let instructionSet: InstructionSet
    /// Threads that share the work.
    public let threads: Int
    /// Bytes of weights that generating one token reads: signs, value vectors and output projection.
    public var bytesPerToken: Int { backEnd.bytesPerToken }

    let backEnd: any BackEnd

    /// Loads a packed checkpoint.
    ///
    /// - Throws: `CheckpointError` when the checkpoint is not a packed one, `TensorFileError` when a scale is not finite,
    ///   ``RuntimeError``, ``InstructionSetError``, `LanguageModelError.notEnoughMemory`, and `CancellationError` within a
    ///   fraction of a second when the task is cancelled.
    public init(checkpoint: Checkpoint, options: LoadOptions = LoadOptions()) throws {
        try checkpoint.require(.packed)
        try AvailableMemory.require(checkpoint.byteCount, for: "\(checkpoint.directory.path): the model")
        let cpu = try CPUBackEnd(checkpoint: checkpoint, options: options)
        configuration = checkpoint.configuration
        inputPrecision = cpu.inputPrecision
        instructionSet = cpu.instructionSet
        threads = cpu.pool.threadCount
        backEnd = cpu
    }

    /// Opens and loads the packed checkpoint in a directory.
    ///
    /// - Throws: what `Checkpoint` and ``init(checkpoint:options:)`` throw.
    public convenience init(directory: URL, options: LoadOptions = LoadOptions()) throws {
        try self.init(checkpoint: Checkpoint(directory: directory), options: options)
    }

    /// Bytes of keys and values: of every token, or in layers with a sliding window of the last ones.
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
