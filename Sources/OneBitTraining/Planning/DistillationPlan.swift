import Foundation
import ModelDescription

/// How a distillation would run on a machine: placement, micro-batch, and the bytes of one process.
public struct DistillationPlan: Sendable, Hashable, Codable {
    public var placement: Placement
    public var processes: Int
    /// Sequences of one forward and backward pass.
    public var microBatchSize: Int
    public var memory: DistillationMemory
    /// Whether a pass keeps the activations of all blocks, in place of computing blocks again, which is a fifth of the
    /// work.
    public var keepsActivations: Bool
    /// Bytes of one training checkpoint, of all processes.
    public var checkpointBytes: Int

    /// Host memory of all processes of one host; 0 where the CPU computes.
    public var hostBytesPerHost: Int
    /// Whether the micro-batch is what ``Execution`` takes by itself.
    public var isDefaultMicroBatch: Bool
}

extension DistillationPlan {
    /// What is to be planned, besides the machine.
    public struct Request: Sendable {
        public var model: ModelConfiguration
        public var configuration: DistillationConfiguration
        /// Bytes of one number of the teacher as it is stored.
        public var teacherElementBytes: Int
        /// Fixed by the user; nil leaves the choice to the plan.
        public var placement: Placement?
        public var microBatchSize: Int?
        /// Threads of a process, where the CPU computes.
        public var threads: Int?

        public init(
            model: ModelConfiguration, configuration: DistillationConfiguration, teacherElementBytes: Int = 2,
            placement: Placement? = nil, microBatchSize: Int? = nil, threads: Int? = nil
        ) {
            self.model = model
            self.configuration = configuration
            self.teacherElementBytes = teacherElementBytes
            self.placement = placement
            self.microBatchSize = microBatchSize
            self.threads = threads
        }
    }

    /// The fastest plan that fits, or the reason why none does.
    ///
    /// Placements are tried from the one that moves the least to the one that moves the most, each with the largest
    /// micro-batch first.
    ///
    /// - Throws: ``PlanError/doesNotFit(needed:available:location:nearest:)``.
    public static func best(_ request: Request, on machine: Machine) throws -> DistillationPlan {
        let candidates = candidates(request, on: machine)
        if let fitting = candidates.first(where: { $0.excess(on: machine) <= 0 }) { return fitting }
        guard let closest = candidates.min(by: { $0.excess(on: machine) < $1.excess(on: machine) }) else {
            throw PlanError.noPlacement(request.placement?.rawValue ?? "any", processes: machine.processes)
        }
        let lacksDevice = closest.deviceExcess(on: machine) > 0
        throw PlanError.doesNotFit(
            needed: lacksDevice ? closest.memory.deviceBytes : closest.hostBytesPerHost,
            available: lacksDevice ? machine.deviceBytes ?? machine.hostBytes : machine.hostBytes,
            location: lacksDevice && machine.deviceBytes != nil ? "the device" : "host memory",
            nearest: nearest(request, on: machine))
    }

    /// Every plan that is worth trying, fastest first.
    static func candidates(_ request: Request, on machine: Machine) -> [DistillationPlan] {
        let isAccelerated = machine.deviceBytes != nil
        var placements: [Placement] = machine.processes > 1 ? [.sharded] : [.resident]
        if isAccelerated { placements += [.host, .streamed] }
        if let fixed = request.placement { placements.removeAll { $0 != fixed } }
        let budget = request.configuration.budget
        let sequences = max(1, (budget.batchSize + machine.processes - 1) / machine.processes)
        let sizes =
            request.microBatchSize.map { [$0] }
            ?? microBatchSizes(budget, sequences: sequences, isAccelerated: isAccelerated)
        return placements.flatMap { placement in
            // More sequences at a time are worth more than what is kept, once passes are several.
            let kept = isAccelerated ? sizes.prefix(1) : []
            return kept.map {
                plan(request, machine, placement: placement, microBatchSize: $0, keepsActivations: true)
            } + sizes.map { plan(request, machine, placement: placement, microBatchSize: $0) }
        }
    }

    /// From about 8,192 tokens' worth down to one sequence; on a CPU from ``Execution``'s own choice, since larger ones
    /// are no faster there.
    private static func microBatchSizes(_ budget: TrainingBudget, sequences: Int, isAccelerated: Bool) -> [Int] {
        let tokens = isAccelerated ? 8192 : Execution.defaultMicroBatchTokens
        var size = min(sequences, max(1, tokens / budget.sequenceLength))
        var sizes: [Int] = []
        while size >= 1 {
            sizes.append(size)
            size /= 2
        }
        return sizes
    }

    private static func plan(
        _ request: Request, _ machine: Machine, placement: Placement, microBatchSize: Int,
        keepsActivations: Bool = false
    ) -> DistillationPlan {
        let (model, configuration) = (request.model, request.configuration)
        let isAccelerated = machine.deviceBytes != nil
        let execution = Execution(threads: request.threads, microBatchSize: microBatchSize)
        let batches = execution.microBatches(
            of: configuration.budget.batchSize, sequenceLength: configuration.budget.sequenceLength)
        let collective = Collective(threads: request.threads, parameters: model.parameterCount)
        let subject = DistillationMemory.Subject(
            model: model, teacherElementBytes: request.teacherElementBytes,
            computeBytes: configuration.precision.dtype.byteWidth, storage: configuration.storageBytes,
            rates: configuration.optimizer.learningRates, sequenceLength: configuration.budget.sequenceLength,
            chunkRows: max(1, BlockSchedule.logitsAtATime(isAccelerated: isAccelerated) / model.vocabularySize))
        let layout = DistillationMemory.Layout(
            placement: placement, processes: machine.processes,
            microBatchSize: microBatchSize, workers: isAccelerated ? 1 : min(collective.workers, batches.count),
            isAccelerated: isAccelerated, keepsActivations: keepsActivations)
        let memory = DistillationMemory(subject, layout: layout)
        let counts = ParameterCounts(model, rates: configuration.optimizer.learningRates)
        let stored = configuration.storageBytes
        return DistillationPlan(
            placement: placement, processes: machine.processes,
            microBatchSize: microBatchSize, memory: memory, keepsActivations: keepsActivations,
            checkpointBytes: Int(
                Double(counts.trainedLatents) * stored.latent + Double(counts.trainedFloats) * 4
                    + Double(counts.trainedLatents + counts.trainedFloats) * 2 * stored.moment),
            hostBytesPerHost: isAccelerated
                ? memory.hostBytes * min(machine.processes, machine.processesPerHost) : 0,
            isDefaultMicroBatch: batches
                == Execution().microBatches(
                    of: configuration.budget.batchSize, sequenceLength: configuration.budget.sequenceLength))
    }

    /// Bytes beyond what the machine has, on the device or the host; zero or less where it fits.
    func excess(on machine: Machine) -> Int { max(deviceExcess(on: machine), hostExcess(on: machine)) }

    private func deviceExcess(on machine: Machine) -> Int {
        guard let device = machine.deviceBytes else {
            let perHost = memory.deviceBytes * min(machine.processes, machine.processesPerHost)
            return perHost - Int(Double(machine.hostBytes) * Machine.usableHostShare)
        }
        return memory.deviceBytes - Int(Double(device) * Machine.usableDeviceShare)
    }

    private func hostExcess(on machine: Machine) -> Int {
        guard machine.deviceBytes != nil else { return .min }
        return hostBytesPerHost - Int(Double(machine.hostBytes) * Machine.usableHostShare)
    }

    /// What would fit: the first that does of smaller storage, shorter sequences, and both, in words.
    private static func nearest(_ request: Request, on machine: Machine) -> String? {
        var shorter = request
        var smaller = request
        smaller.configuration.useSmallestStorage()
        func fitting(_ request: Request) -> DistillationPlan? {
            candidates(request, on: machine).first { $0.excess(on: machine) <= 0 }
        }
        if let plan = fitting(smaller) {
            return "latents in bfloat16 and moments in 8 bits (\(plan.placement.rawValue))"
        }
        for base in [request, smaller] {
            shorter = base
            while shorter.configuration.budget.sequenceLength > 128 {
                shorter.configuration.budget.sequenceLength /= 2
                if let plan = fitting(shorter) {
                    let storage =
                        base.configuration == request.configuration ? "" : ", latents in bfloat16, moments in 8 bits"
                    return "sequences of \(shorter.configuration.budget.sequenceLength) tokens\(storage) "
                        + "(\(plan.placement.rawValue))"
                }
            }
        }
        if let fixed = request.placement {
            var free = request
            free.placement = nil
            if let plan = fitting(free) { return "placement \(plan.placement.rawValue) in place of \(fixed.rawValue)" }
        }
        return nil
    }
}

/// Why a run is not begun.
public enum PlanError: LocalizedError, Sendable, Hashable {
    case doesNotFit(needed: Int, available: Int, location: String, nearest: String?)
    case noPlacement(String, processes: Int)
    case notEnoughTime(budget: Double, needed: Double, for: String)
    case notEnoughDisk(needed: Int, available: Int, directory: String)

    public var errorDescription: String? {
        switch self {
        case .doesNotFit(let needed, let available, let location, _):
            "The run needs \(size(needed)) of \(location), and \(size(available)) are there."
        case .noPlacement(let placement, let processes):
            "There is no placement \(placement) for \(processes) \(processes == 1 ? "process" : "processes")."
        case .notEnoughTime(let budget, let needed, let stage):
            "The time of \(Int(budget)) s is too short: \(stage) alone takes \(Int(needed)) s."
        case .notEnoughDisk(let needed, let available, let directory):
            "The run writes \(size(needed)) to \(directory), and \(size(available)) are free."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .doesNotFit(_, _, _, let nearest):
            nearest.map { "What fits: \($0)." } ?? "Nothing fits on this machine, down to sequences of 128 tokens."
        case .noPlacement: "Leave the choice to the plan."
        case .notEnoughTime: "Allow more time, or take a smaller model."
        case .notEnoughDisk: "Free space there, or write elsewhere."
        }
    }

    private func size(_ bytes: Int) -> String {
        bytes < 1_000_000_000
            ? String(format: "%.1f MB", Double(bytes) / 1e6) : String(format: "%.1f GB", Double(bytes) / 1e9)
    }
}
