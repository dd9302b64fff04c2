import ArgumentParser
import Foundation
import Torch

/// Where a command computes.
struct DeviceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Device: cpu, cuda, cuda:N, or auto. Packed models run on the CPU.",
            discussion:
                "auto is a CUDA device where libtorch's CUDA libraries (make setup CUDA=1) and a device that they support "
                + "are there, else the CPU.",
            valueName: "device"))
    var device = DeviceRequest.automatic

    /// The device; to be asked for before any tensor is made. Why `auto` did without an installed driver's devices goes
    /// to standard error.
    func select() throws -> Device {
        let environment = ProcessInfo.processInfo.environment
        let localRank = (environment["LOCAL_RANK"] ?? environment["SLURM_LOCALID"]).flatMap { Int($0) } ?? 0
        return try device.select(localRank: localRank) { error in
            StandardStreams.writeError("warning: computing on the CPU. \(error.localizedDescription)\n")
        }
    }
}

extension DeviceRequest: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }

    public var defaultValueDescription: String { description }

    public static var allValueStrings: [String] { ["auto", "cpu", "cuda", "cuda:N"] }
}

extension DeviceError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .libraryNotFound:
            "Install it with `make setup CUDA=1`, let ONEBIT_LIBTORCH name the folder torch of an installed PyTorch, or give "
                + "--device cpu."
        case .wrongVersion(_, _, let expected):
            "Let ONEBIT_LIBTORCH name the folder torch of a PyTorch \(expected), or give --device cpu."
        case .notLoadable: "Install it again with `make setup CUDA=1`, or give --device cpu."
        case .noDriver, .driverTooOld: "Install NVIDIA's driver of branch 580 or newer, or give --device cpu."
        case .noDevice, .unusable: "Look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or give --device cpu."
        case .noSuchDevice, .capabilityTooOld: "Give another --device, and look at CUDA_VISIBLE_DEVICES."
        case .loadedTooLate: nil
        }
    }
}
