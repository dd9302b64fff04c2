import LanguageModel
import ModelDescription
import OneBitTraining
import ResumableRuns
import Testing

/// Plans: what fits where, and what fits into a time.
@Suite("Plans") struct PlanningTests {
    private static let gigabyte = 1 << 30

    private func plan(
        _ shape: String, devices: Int = 1, deviceGigabytes: Int, hostGigabytes: Int = 1024,
        _ change: (inout DistillationPlan.Request) -> Void = { _ in }
    ) throws -> DistillationPlan {
        let model = try ModelConfiguration(shape: shape)
        var request = DistillationPlan.Request(model: model, configuration: .paper(for: model))
        request.configuration.precision = .bfloat16
        change(&request)
        return try .best(
            request,
            on: Machine(
                processes: devices, deviceBytes: deviceGigabytes * Self.gigabyte,
                hostBytes: hostGigabytes * Self.gigabyte))
    }

    @Test(
        "What is on the device moves to the host, and then the teacher's blocks too, as devices get smaller",
        arguments: [
            ("llama-7b", 1, 160, Placement.resident), ("llama-7b", 1, 80, .host), ("llama-7b", 1, 24, .host),
            ("llama-13b", 1, 80, .host), ("llama-13b", 1, 24, .streamed), ("llama-7b", 8, 80, .sharded),
            ("llama-13b", 8, 80, .sharded),
        ])
    func placements(shape: String, devices: Int, gigabytes: Int, expected: Placement) throws {
        let plan = try plan(shape, devices: devices, deviceGigabytes: gigabytes)
        #expect(plan.placement == expected)
        #expect(plan.memory.deviceBytes <= gigabytes * Self.gigabyte)
        #expect(plan.processes == devices)
    }

    @Test("A device with room keeps the activations of all blocks, a smaller one and a CPU compute blocks again")
    func activations() throws {
        let model = try ModelConfiguration(shape: "opt-1.3b")
        func plan(gigabytes: Int?, _ precision: Precision = .bfloat16) throws -> DistillationPlan {
            var configuration = DistillationConfiguration.default(for: model)
            configuration.precision = precision
            return try .best(
                .init(model: model, configuration: configuration),
                on: Machine(
                    deviceBytes: gigabytes.map { $0 * Self.gigabyte }, hostBytes: 1024 * Self.gigabyte))
        }
        let (large, small) = (try plan(gigabytes: 80), try plan(gigabytes: 32))
        #expect(large.keepsActivations && large.placement == .resident)
        #expect(!small.keepsActivations && small.placement == .resident)
        #expect(large.memory.deviceBytes > small.memory.deviceBytes + 10 * Self.gigabyte)
        #expect(try !plan(gigabytes: nil).keepsActivations)
        // Activations have the bytes of the run's precision.
        let wide = try plan(gigabytes: 160, .float32)
        #expect(wide.keepsActivations && wide.memory.deviceBytes > large.memory.deviceBytes + 10 * Self.gigabyte)
    }

    @Test("A process of a group keeps its share of latents and moments, wherever these are")
    func shares() throws {
        func state(_ plan: DistillationPlan) -> Int {
            plan.memory.pieces.filter { ["latent matrices", "moments"].contains($0.name) }
                .reduce(0) { $0 + $1.deviceBytes + $1.hostBytes }
        }
        let alone = state(try plan("llama-7b", deviceGigabytes: 80))
        for placement in [Placement.sharded, .host] {
            let one = state(try plan("llama-7b", devices: 8, deviceGigabytes: 80) { $0.placement = placement })
            #expect(abs(8 * one - alone) < alone / 20)
        }
        // 4 bytes of each of the blocks' weights, and two moments of as many.
        let model = try ModelConfiguration(shape: "llama-7b")
        #expect(abs(alone - 12 * model.linearWeightCount) < alone / 50)
    }

    @Test("What fits nowhere is refused, with the nearest plan that does")
    func refusal() {
        #expect {
            try plan("llama-13b", deviceGigabytes: 24, hostGigabytes: 128)
        } throws: { error in
            guard case PlanError.doesNotFit(let needed, let available, let location, let nearest) = error else {
                return false
            }
            return needed > available && !location.isEmpty && nearest?.contains("bfloat16") == true
        }
        #expect {
            try plan("llama-65b", deviceGigabytes: 8, hostGigabytes: 16)
        } throws: { error in
            guard case PlanError.doesNotFit(_, _, _, nil) = error else { return false }
            return error.localizedDescription.contains("GB")
        }
    }

    // MARK: Time

    private func fitted(
        hours: Double, corpusTokens: Int? = nil, fixed: TimeBudget.Fixed = .init(), trained: Double = 200
    ) throws -> DistillationConfiguration {
        let model = try ModelConfiguration(shape: "opt-125m")
        return try TimeBudget(seconds: hours * 3600).fit(
            .default(for: model), model: model,
            rates: StageRates(
                synthesizedTokens: 1000, trainedTokens: trained, optimizerSeconds: 1, otherSeconds: 300),
            corpusTokens: corpusTokens, fixed: fixed)
    }

    /// Seconds of a configuration at the rates above.
    private func seconds(_ configuration: DistillationConfiguration, trained: Double = 200) -> Double {
        let steps = configuration.budget.steps(corpusTokens: 0)
        return 300 + Double(configuration.synthesis.samples * configuration.synthesis.maximumLength) / 1000
            + Double(steps) * (Double(configuration.budget.tokensPerStep) / trained + 1)
    }

    @Test("The work fills its time, and no more", arguments: [0.5, 1, 4, 24])
    func fits(hours: Double) throws {
        let configuration = try fitted(hours: hours)
        let taken = seconds(configuration)
        #expect(taken <= hours * 3600)
        #expect(taken >= hours * 3600 * 0.75)
    }

    @Test("A long text to judge the models on is read for a tenth of the time, a short one as a whole")
    func evaluation() {
        let rates = StageRates(synthesizedTokens: nil, trainedTokens: 200, optimizerSeconds: 1, otherSeconds: 0)
        let hour = TimeBudget(seconds: 3600)
        let read = hour.evaluatedTokens(of: 1_000_000, rates: rates)
        #expect(abs(rates.evaluationSeconds(tokens: read) - 360) < 1)
        #expect(hour.evaluatedTokens(of: 20_000, rates: rates) == 20_000)
        #expect(TimeBudget(seconds: 60).evaluatedTokens(of: 1_000_000, rates: rates) == 16_384)
        #expect(TimeBudget(seconds: 1e12).evaluatedTokens(of: 1_000_000, rates: rates) == 1_000_000)
    }

    @Test("A pretraining is planned by a measured step, and one that does not fit is refused before it is made")
    func pretraining() throws {
        let budget = TrainingBudget(length: .steps(1), batchSize: 2, sequenceLength: 8)
        let optimizer = OptimizerSettings(learningRates: LearningRates(all: 1e-3))
        let execution = Execution(threads: 1)
        let plan = try PretrainingPlan(
            model: TinyModels.shape.modelConfiguration(), budget: budget, optimizer: optimizer, execution: execution)
        #expect(plan.stepSeconds > 0 && plan.memoryBytes > 200 << 20)
        #expect(try abs(plan.steps(in: 1000 * plan.stepSeconds) - 900) <= 1)
        #expect(throws: PlanError.self) { try plan.steps(in: 5 * plan.stepSeconds) }
        for (batchSize, sequenceLength) in [(0, 8), (2, 0), (2, 1), (2, 33)] {
            #expect(throws: RunError.self) {
                try PretrainingPlan(
                    model: TinyModels.shape.modelConfiguration(),
                    budget: TrainingBudget(length: .steps(1), batchSize: batchSize, sequenceLength: sequenceLength),
                    optimizer: optimizer, execution: execution)
            }
        }
        let large = PretrainingShape(
            vocabularySize: 100_000, hiddenSize: 65_536, intermediateSize: 200_000, layers: 200, attentionHeads: 64,
            keyValueHeads: 64, context: 32)
        #expect(throws: LanguageModelError.self) {
            try PretrainingPlan(
                model: large.modelConfiguration(), budget: budget, optimizer: optimizer, execution: execution)
        }
    }

    @Test("Longer times give longer sequences and more steps")
    func growth() throws {
        let (short, long) = (try fitted(hours: 0.5), try fitted(hours: 48))
        #expect(short.budget.sequenceLength < long.budget.sequenceLength)
        #expect(
            short.budget.steps(corpusTokens: 0) * short.budget.tokensPerStep
                < long.budget.steps(corpusTokens: 0) * long.budget.tokensPerStep)
        #expect(short.synthesis.maximumLength <= short.budget.sequenceLength)
    }

    @Test("What the user has chosen stays")
    func fixed() throws {
        let chosen = try fitted(
            hours: 1,
            fixed: .init(steps: true, batchSize: true, sequenceLength: true, samples: true, sampleLength: true))
        let model = try ModelConfiguration(shape: "opt-125m")
        let preset = DistillationConfiguration.default(for: model)
        #expect(chosen == preset)
    }

    @Test("A budget that is never used up leaves the preset's work as it is")
    func abundance() throws {
        let model = try ModelConfiguration(shape: "opt-125m")
        let preset = DistillationConfiguration.default(for: model)
        let chosen = try fitted(hours: 1e7)
        #expect(chosen.budget == preset.budget)
        #expect(chosen.synthesis.samples == preset.synthesis.samples)
    }

    @Test("Passes over a corpus that is still to be written are steps in the end")
    func epochs() throws {
        let model = try ModelConfiguration(shape: "opt-125m")
        let chosen = try TimeBudget(seconds: 3600).fit(
            .paper(for: model), model: model,
            rates: StageRates(synthesizedTokens: 1000, trainedTokens: 200, optimizerSeconds: 1, otherSeconds: 300),
            corpusTokens: nil)
        guard case .steps(let steps) = chosen.budget.length else {
            Issue.record("\(chosen.budget.length)")
            return
        }
        #expect((10...2000).contains(steps))
    }

    @Test("A time in which nothing can be done is refused, with what it would take")
    func tooShort() {
        for hours in [0.01, 0.09] {
            #expect {
                try fitted(hours: hours, trained: 2)
            } throws: { error in
                guard case PlanError.notEnoughTime(let budget, let needed, _) = error else { return false }
                return needed > budget * 0.9
            }
        }
    }

    @Test("The default preset's work grows with the model, and its rate falls")
    func defaults() throws {
        let presets = try ["opt-125m", "tinyllama-1.1b", "llama-7b"].map {
            DistillationConfiguration.default(for: try ModelConfiguration(shape: $0))
        }
        for (smaller, larger) in zip(presets, presets.dropFirst()) {
            #expect(smaller.budget.tokensPerStep < larger.budget.tokensPerStep)
            #expect(
                smaller.budget.steps(corpusTokens: 0) * smaller.budget.tokensPerStep
                    < larger.budget.steps(corpusTokens: 0) * larger.budget.tokensPerStep)
            #expect(smaller.optimizer.learningRates.latent > larger.optimizer.learningRates.latent)
        }
    }
}
