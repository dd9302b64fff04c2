import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import SignDecomposition
import TensorFiles
import Tokenization

extension CompressionReport {
    /// Runs all three models on the held-out text, and lets each tell a story. Teacher and packed model pass over the text
    /// once: their perplexities come out of the comparison.
    ///
    /// - Parameters:
    ///   - window: Tokens per window of the held-out text.
    ///   - tasks: What teacher and packed model are asked, if anything.
    ///   - prompt: Beginning of the stories.
    ///   - seconds: What the compression took.
    static func measure(
        teacher: Checkpoint, start: Checkpoint, packed: Checkpoint, tokenizer: any Tokenizer,
        heldOut: CompressionText.HeldOut, window: Int, tasks: [LoadedTask], prompt: String, recipe: CompressionRecord,
        seconds: Double, threads: Int?, progress: ProgressOptions
    ) throws -> CompressionReport {
        let plan = try WindowPlan(length: window)
        let heldOut = TokenizedText(name: heldOut.name, sequences: [heldOut.tokens])
        let windows = plan.windowCount(of: heldOut)
        let teacherModel = try TorchModel(checkpoint: teacher, threads: threads)
        // The packed files are about to move: an order of their signs kept beside them would be stale there.
        let packedModel = try PackedModel(
            checkpoint: packed, options: LoadOptions(threads: threads, layoutPolicy: .memory))

        var meter = progress.meter("judge packed against teacher", total: windows, unit: "windows")
        let comparison = try ModelComparison(plan).evaluate(
            teacher: teacherModel, student: packedModel, text: heldOut
        ) { soFar in
            meter.update(done: soFar.teacher.windows)
            try Task.checkCancellation()
        }
        meter.finish()

        let startModel = try TorchModel(checkpoint: start, threads: threads)
        meter = progress.meter("judge start", total: windows, unit: "windows")
        let startResult = try Perplexity(plan).evaluate(startModel, text: heldOut) { soFar in
            meter.update(done: soFar.windows)
            try Task.checkCancellation()
        }
        meter.finish()

        func describe(
            _ name: String, _ checkpoint: Checkpoint, _ model: any CausalLanguageModel, _ result: PerplexityResult
        ) throws -> Model {
            let summary = try CheckpointSummary(checkpoint)
            let story = try tell(model, tokenizer: tokenizer, prompt: prompt)
            return Model(
                name: name, linearBytes: summary.linearBytes, linearBitsPerWeight: summary.linearBitsPerWeight,
                bytes: summary.byteCount, bitsPerWeight: summary.bitsPerWeight, perplexity: result.perplexity,
                tokensPerSecond: story.tokensPerSecond, story: story.text)
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
    private static func tell(
        _ model: any CausalLanguageModel, tokenizer: any Tokenizer, prompt: String
    ) throws -> (text: String, tokensPerSecond: Double) {
        var tokens = try tokenizer.encode(prompt, addSpecialTokens: true)
        if tokens.isEmpty { tokens = [tokenizer.beginOfSequence ?? 0] }
        var parameters = GenerateParameters.greedy
        parameters.maxTokens = 250
        var story = prompt
        let info = try generate(prompt: tokens, model: model, tokenizer: tokenizer, parameters: parameters) {
            story += $0
            try Task.checkCancellation()
        }
        return (story, info.tokensPerSecond)
    }
}
