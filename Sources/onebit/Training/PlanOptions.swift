import ArgumentParser
import Foundation
import LanguageModel
import ModelDescription
import OneBitTraining
import Torch

extension Placement: ExpressibleByArgument {}

/// What a run may take, and whether it is only planned.
struct PlanOptions: ParsableArguments {
    @Flag(help: "Print what the run would take, stage by stage, and stop.")
    var plan = false

    @Option(
        help: ArgumentHelp(
            "Time for everything, such as 90m, 2h or 1h30m: samples, sequence length and steps are chosen to fit.",
            discussion: "Of a long held-out text the first tokens are read, for a tenth of the time.",
            valueName: "time"))
    var timeBudget: TimeAmount?

    @Option(
        help: ArgumentHelp(
            "Where latents and moments lie: resident, sharded, host or streamed; the fastest that fits, unless given."))
    var placement: Placement?

    @Option(help: ArgumentHelp("With --plan: memory of each accelerator, such as 80GB.", valueName: "bytes"))
    var deviceMemory: ByteSize?

    @Option(help: ArgumentHelp("With --plan: accelerators, of one machine.", valueName: "n"))
    var devices: Int?

    @Option(help: ArgumentHelp("With --plan: memory of the machine, such as 256GB.", valueName: "bytes"))
    var hostMemory: ByteSize?

    func validate() throws {
        if !plan, deviceMemory != nil || devices != nil || hostMemory != nil {
            throw ValidationError(
                "--device-memory, --devices and --host-memory describe another machine: they go with --plan.")
        }
        if let devices, !(1...65536).contains(devices) { throw ValidationError("--devices must be 1 or more.") }
        if devices != nil, deviceMemory == nil { throw ValidationError("--devices goes with --device-memory.") }
    }

    /// Whether the machine that is planned for is this one.
    var isForThisMachine: Bool { deviceMemory == nil && hostMemory == nil }

    /// Whether another device than the CPU computes there, where `device` does here.
    func isAccelerated(_ device: Device) -> Bool { deviceMemory != nil || device != .cpu }

    /// The machine that is planned for: this one, unless another is described.
    ///
    /// - Parameter device: What computes on this one.
    func machine(processes: Int = 1, device: Device) throws -> Machine {
        Machine(
            processes: devices ?? processes, deviceBytes: try deviceMemory?.bytes ?? device.memory()?.free,
            hostBytes: hostMemory?.bytes ?? AvailableMemory.bytesAvailable
                ?? Int(ProcessInfo.processInfo.physicalMemory))
    }
}

extension PlanError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .doesNotFit(_, _, _, let nearest):
            nearest.map { "What fits: \($0). See --latent-storage, --moment-storage, --sequence-length, --placement." }
                ?? "Nothing fits on this machine, down to sequences of 128 tokens."
        case .noPlacement: "Leave --placement out, or start as many processes as it needs."
        case .notEnoughTime: "Give a longer --time-budget."
        case .notEnoughDisk: "Free space there, or give another --output."
        }
    }
}
