import CorpusSynthesis
import Foundation
import LanguageModel
import ModelDescription
import OneBitRuntime
import OneBitTraining
import ResumableRuns
import TensorFiles
import Tokenization

/// Chooses how a compression or one of its stages runs, and says what it takes before it begins.
struct RunPlanner {
    let model: ModelConfiguration
    /// Nil where a published shape is planned for: then nothing can be measured.
    let teacher: Checkpoint?
    let options: PlanOptions
    let execution: Execution
    /// Where the run writes; its disk must have room.
    let output: URL
    let progress: ProgressOptions

    /// What is to be run.
    struct Work {
        var configuration: DistillationConfiguration
        /// Tokens of a given corpus; nil where the teacher writes it.
        var corpusTokens: Int?
        /// Tokens that models are evaluated on; nil without an evaluation.
        var heldOutTokens: Int?
        /// Whether the start is made and the student packed too.
        var isWhole: Bool
        /// What the user has chosen.
        var fixed = TimeBudget.Fixed()
        var synthesisLimits = SynthesisLimits()
        var processes = 1
        /// How the start of a run with a configuration is calibrated, if it is.
        var calibration: (DistillationConfiguration) -> CalibrationSettings? = { _ in nil }
    }

    /// What a run is begun with. Kept beside its work, so that a resumed one computes the same though the machine has
    /// become faster or slower.
    struct Choice: Codable {
        /// What was asked for.
        var requested: RunIdentity
        var configuration: DistillationConfiguration
        var microBatchSize: Int?
        var placement: Placement
        /// Whether passes keep the activations of all blocks; nil as of old says no.
        var keepsActivations: Bool?
        /// Tokens of the held-out text, from its first on, that models are evaluated on.
        var heldOutTokens: Int?

        func applied(to execution: Execution) -> Execution {
            var execution = execution
            execution.microBatchSize = microBatchSize
            execution.placement = placement
            if keepsActivations == true { execution.keptActivations = .max }
            return execution
        }
    }

    /// Plans, and prints what it takes.
    ///
    /// - Parameters:
    ///   - directory: Of the run's work, where the choice of an earlier run is.
    ///   - resumes: Whether that choice holds.
    /// - Returns: What to run with; nil where only the plan was asked for, which is printed then.
    func begin(_ work: Work, directory: URL, resumes: Bool, json: Bool = false) throws -> Choice? {
        let requested = try RunIdentity(work.configuration, inputs: [:])
            .adding(options.timeBudget.map { ["time_budget": "\($0.seconds) s"] } ?? [:])
        if resumes, !options.plan, let saved = try PlanFile(in: directory).read(Choice.self) {
            try requested.requireSame(as: saved.requested, in: directory)
            return saved
        }
        try work.configuration.budget.validate(context: model.maximumPositions)
        let machine = try options.machine(processes: work.processes, device: execution.device)
        let rates = try measure(work, on: machine)
        var work = work
        if let budget = options.timeBudget, let measured = rates {
            let budget = TimeBudget(seconds: budget.seconds)
            func fitted(_ rates: StageRates) throws -> DistillationConfiguration {
                try budget.fit(
                    work.configuration, model: model, rates: rates, corpusTokens: work.corpusTokens, fixed: work.fixed)
            }
            var planned = measured
            if let tokens = work.heldOutTokens {
                let read = budget.evaluatedTokens(of: tokens, rates: measured)
                work.heldOutTokens = read
                planned.otherSeconds += planned.evaluationSeconds(tokens: read)
            }
            // Whether the start is calibrated follows from the run's length, and takes of its time.
            planned.otherSeconds += try calibrationSeconds(work, fitted(planned))
            work.configuration = try fitted(planned)
        }
        let best = try DistillationPlan.best(request(work.configuration), on: machine)
        let plan = try stages(work, best, rates)
        if options.plan {
            try json ? writeJSON(plan) : StandardStreams.write(plan.text)
            return nil
        }
        try requireDisk(plan.table.diskBytes)
        if !progress.quiet { StandardStreams.writeError(plan.text + "\n") }
        return Choice(
            requested: requested, configuration: work.configuration,
            microBatchSize: best.isDefaultMicroBatch ? execution.microBatchSize : best.microBatchSize,
            placement: options.placement ?? (best.placement == .sharded ? .resident : best.placement),
            keepsActivations: best.keepsActivations, heldOutTokens: work.heldOutTokens)
    }

    private func request(_ configuration: DistillationConfiguration) -> DistillationPlan.Request {
        DistillationPlan.Request(
            model: model, configuration: configuration, teacherElementBytes: teacherElementBytes,
            placement: options.placement, microBatchSize: execution.microBatchSize, threads: execution.threads)
    }

    // MARK: What it takes

    /// What this machine does; nil where another one, or a shape without weights, is planned for.
    private func measure(_ work: Work, on machine: Machine) throws -> StageRates? {
        guard let teacher, options.isForThisMachine else { return nil }
        // What a step takes on a device depends on the pass's size and on where the optimizer has its state.
        var execution = execution
        if execution.device != .cpu, let likely = try? DistillationPlan.best(request(work.configuration), on: machine) {
            (execution.placement, execution.microBatchSize) = (likely.placement, likely.microBatchSize)
            if likely.keepsActivations { execution.keptActivations = .max }
        }
        let meter = progress.meter("measure", total: work.corpusTokens == nil ? 2 : 1, unit: "stages")
        let step = try Distiller.measureStep(
            teacher: teacher, configuration: work.configuration, execution: execution)
        meter.advance(note: "\(Quantity.rate(1 / step.secondsPerToken)) tokens/s trained")
        var written: Double?
        if work.corpusTokens == nil {
            let writer = try CorpusWriter(teacher, threads: execution.threads, device: execution.device)
            let synthesizer = try CorpusSynthesizer(
                model: writer.model, tokenizer: try loadTokenizer(from: teacher.directory),
                settings: work.configuration.synthesis, limits: work.synthesisLimits)
            let length = options.timeBudget == nil ? work.configuration.synthesis.maximumLength : 512
            written = try synthesizer.measureRate().tokensPerSecond(
                maximumLength: min(length, work.configuration.synthesis.maximumLength))
            meter.advance(note: "\(Quantity.rate(written ?? 0)) tokens/s written")
        }
        meter.finish()
        let parameters = Double(model.parameterCount)
        return StageRates(
            synthesizedTokens: written, trainedTokens: 1 / step.secondsPerToken,
            optimizerSeconds: step.optimizerSeconds,
            otherSeconds: work.isWhole ? parameters * (Self.secondsToInitialize + Self.secondsToPack) : 0)
    }

    /// Seconds a parameter, as SmolLM2-135M takes on two cores (dev/LOG.md).
    private static let secondsToInitialize = 1.5e-8
    private static let secondsToPack = 2e-8
    /// Training checkpoints that are there at a time: two that are kept and one that is being written.
    private static let checkpointsKept = 3

    /// What calibrating the start takes; 0 where it is not calibrated.
    private func calibrationSeconds(_ work: Work, _ configuration: DistillationConfiguration) throws -> Double {
        guard let settings = work.calibration(configuration) else { return 0 }
        return try CalibratedInitializer(recipe: configuration.start, settings: settings, execution: execution)
            .cost(for: model, textTokens: settings.tokens).seconds()
    }

    private func stages(_ work: Work, _ plan: DistillationPlan, _ rates: StageRates?) throws -> StagePlan {
        let configuration = work.configuration
        let parameters = model.parameterCount
        let isAccelerated = options.isAccelerated(execution.device)
        var stages: [StageTable.Stage] = []
        let startBytes = 4 * model.linearWeightCount + teacherElementBytes * (parameters - model.linearWeightCount)
        var corpusTokens = work.corpusTokens
        if corpusTokens == nil, work.isWhole {
            let tokens = configuration.synthesis.samples * configuration.synthesis.maximumLength
            corpusTokens = tokens
            stages.append(
                StageTable.Stage(
                    name: "synthesize", tokens: tokens,
                    seconds: rates?.synthesizedTokens.map { Double(tokens) / $0 },
                    deviceBytes: SynthesisLimits.byteCount(of: model, settings: configuration.synthesis),
                    diskBytes: tokens * SynthesisLimits.corpusBytesPerToken))
        }
        if work.isWhole {
            let calibration = rates == nil ? 0 : try calibrationSeconds(work, configuration)
            stages.append(
                StageTable.Stage(
                    name: calibration > 0 ? "calibrate" : "init",
                    seconds: rates.map { _ in calibration + Double(parameters) * Self.secondsToInitialize },
                    diskBytes: startBytes))
        }
        let steps = configuration.budget.steps(corpusTokens: corpusTokens ?? 0)
        stages.append(
            StageTable.Stage(
                name: "distill", tokens: steps * configuration.budget.tokensPerStep,
                seconds: rates?.trainingSeconds(configuration.budget, steps: steps),
                deviceBytes: plan.memory.deviceBytes, hostBytes: plan.hostBytesPerHost,
                diskBytes: Self.checkpointsKept * plan.checkpointBytes + startBytes))
        if work.isWhole {
            let packed = model.linearWeightCount / 8 + 2 * (parameters - model.linearWeightCount)
            stages.append(
                StageTable.Stage(
                    name: "pack", seconds: rates.map { _ in Double(parameters) * Self.secondsToPack },
                    diskBytes: 2 * packed))
            if let tokens = work.heldOutTokens {
                stages.append(
                    StageTable.Stage(
                        name: "evaluate", tokens: 3 * tokens,
                        seconds: rates?.evaluationSeconds(tokens: tokens)))
            }
        }
        return StagePlan(
            table: StageTable(stages: stages, isAccelerated: isAccelerated), memory: plan.memory,
            placement: plan.placement, processes: plan.processes,
            microBatchSize: plan.microBatchSize, keepsActivations: plan.keepsActivations, steps: steps,
            batchSize: configuration.budget.batchSize,
            sequenceLength: configuration.budget.sequenceLength)
    }

    private var teacherElementBytes: Int {
        guard let teacher else { return 2 }
        let bytes = teacher.tensors.values.map(\.elementType.byteWidth).max() ?? 4
        return min(4, max(2, bytes))
    }

    private func requireDisk(_ needed: Int) throws {
        let parent = output.deletingLastPathComponent()
        guard let available = availableBytes(at: parent.path) else { return }
        guard needed <= available else {
            throw PlanError.notEnoughDisk(needed: needed, available: available, directory: parent.path)
        }
    }
}
