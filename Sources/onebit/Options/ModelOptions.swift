import ArgumentParser
import Foundation
import ModelDescription
import OneBitRuntime
import TensorFiles

#if TRAINING
    import OneBitTraining
    import Torch
#endif

/// How a command opens a checkpoint.
struct CheckpointOptions: ParsableArguments {
    @Flag(
        help: "Go on, with a warning, where config.json has keys of which this version does not know what they change.")
    var allowUnknownKeys = false

    /// Opens a checkpoint. What its configuration warns of goes to standard error.
    func open(_ directory: URL) throws -> Checkpoint {
        let checkpoint = try reopen(directory)
        for warning in checkpoint.configuration.warnings { StandardStreams.writeError("warning: \(warning)\n") }
        return checkpoint
    }

    /// Opens a checkpoint that was made from an opened one, whose warnings it has too.
    func reopen(_ directory: URL) throws -> Checkpoint {
        try Checkpoint(directory: directory, unknownKeys: allowUnknownKeys ? .allowed : .refused)
    }
}

/// How a command runs a model.
struct ModelOptions: ParsableArguments {
    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var threads: ThreadOptions

    #if TRAINING
        @OptionGroup var device: DeviceOptions
    #endif

    @Option(
        help: ArgumentHelp(
            """
            Bits to which the inputs of the blocks' layers are rounded: 16 loses nothing, 10 is faster. Of a packed \
            model (default: \(InputPrecision.default.rawValue)); those of a dense one are rounded only if this says so.
            """,
            valueName: "10|16"))
    var inputBits: InputPrecision?

    @Option(
        help: ArgumentHelp(
            "Precision of a packed model's output projection: as it is stored, or 8 bits, made at load.",
            valueName: "stored|8"))
    var headBits = HeadPrecision.stored

    @Option(
        help: ArgumentHelp(
            "Bits of a packed model's keys and values: 8 take half the memory of 16.", valueName: "8|16"))
    var kvBits = CachePrecision.bits16

    /// The same with another precision of the inputs; nil changes nothing.
    func rounding(to inputBits: InputPrecision?) -> ModelOptions {
        var options = self
        options.inputBits = inputBits ?? options.inputBits
        return options
    }

    /// For the packed runtime. What happens at load goes to standard error.
    var loadOptions: LoadOptions {
        LoadOptions(
            threads: threads.threads, inputPrecision: inputBits ?? .default, headPrecision: headBits,
            cachePrecision: kvBits
        ) { event in
            StandardStreams.writeError("\(event.isWarning ? "warning: " : "")\(event)\n")
        }
    }
}

extension InputPrecision: ExpressibleByArgument {}
extension HeadPrecision: ExpressibleByArgument {}
extension CachePrecision: ExpressibleByArgument {}

/// Any model that stands in a directory: packed and dense ones by the runtime; float students, and what another device than
/// the CPU is asked for, by libtorch.
///
/// - Throws: ``ModelLoadingError``, and what is wrong with the checkpoint.
func loadModel(directory: URL, options: ModelOptions) throws -> any HiddenStateModel {
    try loadModel(try options.checkpoints.open(directory), options: options)
}

/// As ``loadModel(directory:options:)``, of a checkpoint that is open.
func loadModel(_ checkpoint: Checkpoint, options: ModelOptions) throws -> any HiddenStateModel {
    if checkpoint.kind == .packed {
        return try PackedModel(checkpoint: checkpoint, options: options.loadOptions)
    }
    #if TRAINING
        return try loadModel(
            checkpoint, threads: options.threads.threads, device: options.device.select(), inputBits: options.inputBits)
    #else
        guard checkpoint.kind == .dense else {
            throw ModelLoadingError.needsTraining(directory: checkpoint.directory.path)
        }
        return try DenseModel(
            checkpoint: checkpoint, threads: options.threads.threads, inputPrecision: options.inputBits)
    #endif
}

#if TRAINING
    /// A model that is not packed.
    func loadModel(
        _ checkpoint: Checkpoint, threads: Int?, device: Device, inputBits: InputPrecision? = nil
    ) throws -> any HiddenStateModel {
        if checkpoint.kind == .dense, device == .cpu {
            return try DenseModel(checkpoint: checkpoint, threads: threads, inputPrecision: inputBits)
        }
        return try TorchModel(checkpoint: checkpoint, threads: threads, device: device)
    }
#endif

/// A model that this build cannot run.
enum ModelLoadingError: LocalizedError {
    case needsTraining(directory: String)

    var errorDescription: String? {
        switch self {
        case .needsTraining(let directory):
            "\(directory) is a float student, which this build cannot run: it was made without libtorch. Pack the student "
                + "(onebit pack), or build with training: make setup build, "
                + "which is ONEBIT_TRAINING=1 swift build -c release."
        }
    }
}
