import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import SignDecomposition
import TensorFiles
import Tokenization
import Torch

/// What a compression made of the model, measured, and what made it.
struct CompressionReport: Encodable {
    /// One of the models: the original, the student before training, the packed result.
    struct Model: Encodable {
        var name: String
        /// Stored bytes of the blocks' linear layers, value vectors included.
        var linearBytes: Int
        /// The same in bits per weight of the original.
        var linearBitsPerWeight: Double
        /// Stored bytes of all tensors.
        var bytes: Int
        var bitsPerWeight: Double
        /// Per token, of the held-out text.
        var perplexity: Double
        /// Generated tokens per second, one sequence.
        var tokensPerSecond: Double
        var sample: String
    }

    /// In the order of the stages: teacher, start, packed.
    var models: [Model]
    /// The packed model held against the teacher, on the held-out text.
    var comparison: ComparisonFigures
    /// The zero-shot tasks of both, where there were data.
    var tasks: EvaluationReport?
    /// What the figures mean, by their keys.
    var definitions: [String: String]
    /// Wall-clock time of start, synthesis, distillation and packing.
    var compressionSeconds: Double
    var recipe: CompressionRecord

    var teacher: Model { models[0] }
    var packed: Model { models[models.count - 1] }

    /// Sizes and perplexities, a model a line.
    func table(withSpeed: Bool) -> TextTable {
        var table = TextTable(
            [
                .text("model"), .figure("linear bytes"), .figure("bits/weight"), .figure("all bytes"),
                .figure("bits/weight"), .figure("perplexity"),
            ] + (withSpeed ? [.figure("tokens/s")] : []))
        for model in models {
            table.append(
                [
                    model.name, Quantity.grouped(model.linearBytes),
                    Quantity.fixed(model.linearBitsPerWeight, digits: 3), Quantity.grouped(model.bytes),
                    Quantity.fixed(model.bitsPerWeight, digits: 3), Quantity.fixed(model.perplexity, digits: 3),
                ] + (withSpeed ? [Quantity.fixed(model.tokensPerSecond, digits: 0)] : []))
        }
        return table
    }

    /// For people: a table and the sample texts.
    var text: String {
        let samples = models.map { "\($0.name):\n\($0.sample)\n" }.joined(separator: "\n")
        return """
            \(table(withSpeed: true).text)
            Compressed in \(Quantity.duration(seconds: compressionSeconds)). Perplexity of the packed model is \
            \(Quantity.fixed(comparison.perplexityRatio.value, digits: 3)) times the teacher's; it gives the same likeliest \
            token in \(Quantity.fixed(comparison.topOneAgreement.value * 100, digits: 1)) % of positions, and its KL divergence \
            from the teacher is \(Quantity.fixed(comparison.klDivergence.value, digits: 3)) nats.
            On \(comparison.source), \(definitions["perplexity"] ?? ""). Tokens/s: greedy generation, one sequence.
            \(tasks.map { "\n\($0.summary.text)\n\($0.legend)\n" } ?? "")
            \(samples)
            """
    }
}

extension CompressionReport {
    /// Runs all three models on the held-out text, and lets each continue a prompt. Teacher and packed model pass over the text
    /// once: their perplexities come out of the comparison.
    ///
    /// - Parameters:
    ///   - window: Tokens per window of the held-out text.
    ///   - tasks: What teacher and packed model are asked, if anything.
    ///   - prompt: What the sample texts begin with.
    ///   - seconds: What the compression took.
    static func measure(
        teacher: Checkpoint, start: Checkpoint, packed: Checkpoint, tokenizer: any Tokenizer,
        heldOut: CompressionText.HeldOut, window: Int, tasks: [LoadedTask], prompt: String, recipe: CompressionRecord,
        seconds: Double, threads: Int?, device: Device, progress: ProgressOptions
    ) throws -> CompressionReport {
        let plan = try WindowPlan(length: window)
        let heldOut = TokenizedText(name: heldOut.name, sequences: [heldOut.tokens])
        let windows = plan.windowCount(of: heldOut)
        let teacherModel = try loadModel(teacher, threads: threads, device: device)
        // The packed files are about to move: an order of their signs kept beside them would be stale there.
        let packedModel = try PackedModel(
            checkpoint: packed, options: LoadOptions(threads: threads, layoutPolicy: .memory))

        var meter = progress.meter("compare packed with teacher", total: windows, unit: "windows")
        let comparison = try ModelComparison(plan).evaluate(
            teacher: teacherModel, student: packedModel, text: heldOut
        ) { soFar in
            meter.update(done: soFar.teacher.windows)
            try Task.checkCancellation()
        }
        meter.finish()

        let startModel = try loadModel(start, threads: threads, device: device)
        meter = progress.meter("evaluate start", total: windows, unit: "windows")
        let startResult = try Perplexity(plan).evaluate(startModel, text: heldOut) { soFar in
            meter.update(done: soFar.windows)
            try Task.checkCancellation()
        }
        meter.finish()

        func describe(
            _ name: String, _ checkpoint: Checkpoint, _ model: any CausalLanguageModel, _ result: PerplexityResult
        ) throws -> Model {
            let summary = try CheckpointSummary(checkpoint)
            let sample = try continuation(of: prompt, model: model, tokenizer: tokenizer)
            return Model(
                name: name, linearBytes: summary.linearBytes, linearBitsPerWeight: summary.linearBitsPerWeight,
                bytes: summary.byteCount, bitsPerWeight: summary.bitsPerWeight, perplexity: result.perplexity,
                tokensPerSecond: sample.tokensPerSecond, sample: sample.text)
        }
        return CompressionReport(
            models: [
                try describe("teacher", teacher, teacherModel, comparison.teacher),
                try describe("start", start, startModel, startResult),
                try describe("packed", packed, packedModel, comparison.student),
            ],
            comparison: ComparisonFigures(comparison),
            tasks: try tasks.isEmpty
                ? nil
                : EvaluationReport(
                    [("teacher", teacher, teacherModel as any CausalLanguageModel), ("packed", packed, packedModel)].map
                    {
                        try ModelEvaluation(
                            candidate: Candidate(name: $0, checkpoint: $1), model: $2, tokenizer: tokenizer,
                            progress: progress
                        ).run(tasks, texts: [])
                    }, original: 0, bos: .tokenizer),
            definitions: ComparisonFigures.definitions(plan),
            compressionSeconds: seconds, recipe: recipe)
    }

    /// Continues `prompt` greedily.
    private static func continuation(
        of prompt: String, model: any CausalLanguageModel, tokenizer: any Tokenizer
    ) throws -> (text: String, tokensPerSecond: Double) {
        var tokens = try tokenizer.encode(prompt, addSpecialTokens: true)
        if tokens.isEmpty { tokens = [tokenizer.beginOfSequence ?? 0] }
        var parameters = GenerateParameters.greedy
        parameters.maxTokens = 250
        var text = prompt
        let info = try generate(prompt: tokens, model: model, tokenizer: tokenizer, parameters: parameters) {
            text += $0
            try Task.checkCancellation()
        }
        return (text, info.tokensPerSecond)
    }
}

/// What a compression was made with and did, so that it can be repeated.
struct CompressionRecord: Encodable {
    /// The preset.
    var name: RecipeName
    var configuration: DistillationConfiguration
    /// The corpus's files, with their weights; nil where the teacher wrote it.
    var corpus: String?
    /// Tokens that were trained on, those held out not among them.
    var corpusTokens: Int
    /// Optimizer steps that were made.
    var steps: Int
    var version = OneBitVersion.current
    /// The command line, quoted for a shell.
    var command = ShellCommand.ofThisProcess

    /// Tokens that the student has seen, over all passes.
    var trainedTokens: Int { steps * configuration.budget.tokensPerStep }

    /// Every number by name, for people.
    var table: TextTable {
        var table = TextTable([.text("setting"), .text("value")])
        func append(_ name: String, _ value: some CustomStringConvertible) { table.append([name, "\(value)"]) }
        let (start, loss, optimizer) = (configuration.start, configuration.loss, configuration.optimizer)
        append("recipe", "\(name.rawValue), onebit-swift \(version)")
        append("value vectors g and h", "\(start.method.rawValue), split \(start.scaleSplit.rawValue)")
        append("latent weight", start.latent.rawValue)
        append("LayerNorm after a linear", start.postLayerNorm ? "on" : "off")
        append("corpus", corpus ?? synthesisText)
        append("corpus tokens", Quantity.grouped(corpusTokens))
        append("steps", Quantity.grouped(steps))
        append("sequences per step", configuration.budget.batchSize)
        append("tokens per sequence", Quantity.grouped(configuration.budget.sequenceLength))
        append(
            "tokens trained on",
            "\(Quantity.grouped(trainedTokens)), "
                + "\(Quantity.fixed(Double(trainedTokens) / Double(max(1, corpusTokens)), digits: 1)) passes")
        append("gradient of the sign", loss.signGradient.rawValue)
        append("weight of the KL divergence", loss.weights.klDivergence)
        append("weight of the hidden states", loss.weights.hiddenStates)
        append("weight of the language model", loss.weights.languageModel)
        for group in [ParameterGroup.latent, .scales, .embedding, .norm] {
            append("learning rate, \(group.rawValue)", optimizer.learningRates[group])
        }
        append("warm-up steps", optimizer.schedule(steps: steps).warmupSteps)
        append("schedule", "cosine to zero")
        append("AdamW β₁, β₂, ε", "\(optimizer.beta1), \(optimizer.beta2), \(optimizer.epsilon)")
        append("weight decay of matrices", optimizer.weightDecay)
        append("largest gradient norm", optimizer.gradientClip)
        append("seed", configuration.seed)
        return table
    }

    private var synthesisText: String {
        let synthesis = configuration.synthesis
        let first =
            switch synthesis.firstToken {
            case .uniform:
                "first token uniform, the next \(synthesis.greedyTokens.lowerBound) to "
                    + "\(synthesis.greedyTokens.upperBound) greedy"
            case .model: "first token drawn by the model"
            }
        return "written by the teacher: \(Quantity.grouped(synthesis.samples)) samples of up to "
            + "\(Quantity.grouped(synthesis.maximumLength)) tokens, \(first)"
    }
}
