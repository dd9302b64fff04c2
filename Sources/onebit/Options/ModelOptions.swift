import ArgumentParser
import Foundation
import ModelDescription
import OneBitRuntime
import TensorFiles

#if TRAINING
    import OneBitTraining
#endif

/// How a command runs a model.
struct ModelOptions: ParsableArguments {
    @OptionGroup var threads: ThreadOptions

    @Option(
        help: ArgumentHelp(
            "Bits to which a packed model's layer inputs are quantised: 16 loses nothing, 8 is faster.",
            valueName: "8|16"))
    var inputBits = InputPrecision.default

    @Option(
        help: ArgumentHelp(
            "Precision of a packed model's output projection: as it is stored, or 8 bits made at load.",
            valueName: "stored|8"))
    var headBits = HeadPrecision.stored

    /// For the packed runtime. What happens at load goes to standard error.
    var loadOptions: LoadOptions {
        LoadOptions(threads: threads.threads, inputPrecision: inputBits, headPrecision: headBits) { event in
            StandardStreams.writeError("\(event.isWarning ? "warning: " : "")\(event)\n")
        }
    }
}

extension InputPrecision: ExpressibleByArgument {}
extension HeadPrecision: ExpressibleByArgument {}

/// Any model that stands in a directory: packed by the runtime, dense and float students by libtorch.
///
/// - Throws: ``ModelLoadingError``, and what is wrong with the checkpoint.
func loadModel(directory: URL, options: ModelOptions) throws -> any HiddenStateModel {
    let checkpoint = try Checkpoint(directory: directory)
    if checkpoint.kind == .packed {
        return try PackedModel(checkpoint: checkpoint, options: options.loadOptions)
    }
    #if TRAINING
        return try TorchModel(checkpoint: checkpoint, threads: options.threads.threads)
    #else
        throw ModelLoadingError.needsTraining(directory: directory.path)
    #endif
}

/// A model that this build cannot run.
enum ModelLoadingError: LocalizedError {
    case needsTraining(directory: String)

    var errorDescription: String? {
        switch self {
        case .needsTraining(let directory):
            "\(directory) is not a packed model, and this build runs no others: it was made without libtorch. Pack the "
                + "model (onebit pack), or build with training: make setup build, "
                + "which is ONEBIT_TRAINING=1 swift build -c release."
        }
    }
}
