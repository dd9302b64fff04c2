import Foundation
import ModelFiles
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import SignDecomposition
import Tokenization

/// What a compression made of the model, measured.
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
        var story: String
    }

    var models: [Model]
    /// Wall-clock time of start, synthesis, distillation and packing.
    var compressionSeconds: Double
    /// What the perplexities are of.
    var perplexityDefinition: String

    var teacher: Model { models[0] }
    var packed: Model { models[models.count - 1] }

    /// Runs all three models on the held-out text, and lets each tell a story.
    static func measure(
        teacher: Checkpoint, start: Checkpoint, packed: Checkpoint, tokenizer: any Tokenizer, text: CompressionText,
        window: Int, prompt: String, seconds: Double, threads: Int?, progress: ProgressOptions
    ) throws -> CompressionReport {
        var models: [Model] = []
        var definition = ""
        for (name, checkpoint) in [("teacher", teacher), ("start", start), ("packed", packed)] {
            let model: any CausalLanguageModel =
                checkpoint.kind == .packed
                ? try PackedModel(checkpoint: checkpoint, options: LoadOptions(threads: threads))
                : try TorchModel(checkpoint: checkpoint, threads: threads)
            let summary = try CheckpointSummary(checkpoint)
            let meter = progress.meter("judge \(name)", total: text.heldOut.count / window, unit: "windows")
            let perplexity = try Perplexity(window: window).evaluate(model, tokens: text.heldOut) { result, _ in
                meter.update(done: result.windows)
                try Interruption.check()
            }
            meter.finish()
            definition = "\(text.heldOutName), \(perplexity.definition)"
            let story = try tell(model, tokenizer: tokenizer, prompt: prompt)
            models.append(
                Model(
                    name: name, linearBytes: summary.linearBytes, linearBitsPerWeight: summary.linearBitsPerWeight,
                    bytes: summary.byteCount, bitsPerWeight: summary.bitsPerWeight,
                    perplexity: perplexity.perplexity, tokensPerSecond: story.tokensPerSecond, story: story.text))
        }
        return CompressionReport(models: models, compressionSeconds: seconds, perplexityDefinition: definition)
    }

    /// Continues `prompt` greedily.
    private static func tell(
        _ model: any CausalLanguageModel, tokenizer: any Tokenizer, prompt: String
    ) throws -> (text: String, tokensPerSecond: Double) {
        var tokens = tokenizer.encode(prompt, addSpecialTokens: true)
        if tokens.isEmpty { tokens = [tokenizer.beginOfSequence ?? 0] }
        var parameters = GenerateParameters.greedy
        parameters.maxTokens = 250
        var story = prompt
        let info = try generate(prompt: tokens, model: model, tokenizer: tokenizer, parameters: parameters) {
            story += $0
            try Interruption.check()
        }
        return (story, info.tokensPerSecond)
    }

    /// For people: a table and the stories.
    var text: String {
        var table = TextTable([
            .text("model"), .figure("linear bytes"), .figure("bits/weight"), .figure("all bytes"),
            .figure("bits/weight"), .figure("perplexity"), .figure("tokens/s"),
        ])
        for model in models {
            table.append([
                model.name, Quantity.grouped(model.linearBytes), Quantity.fixed(model.linearBitsPerWeight, digits: 3),
                Quantity.grouped(model.bytes), Quantity.fixed(model.bitsPerWeight, digits: 3),
                Quantity.fixed(model.perplexity, digits: 3), Quantity.fixed(model.tokensPerSecond, digits: 0),
            ])
        }
        let ratio = packed.perplexity / teacher.perplexity
        let stories = models.map { "\($0.name):\n\($0.story)\n" }.joined(separator: "\n")
        return """
            \(table.text)
            Compressed in \(Quantity.duration(seconds: compressionSeconds)). Perplexity of the packed model is \
            \(Quantity.fixed(ratio, digits: 3)) times the teacher's.
            Perplexity: \(perplexityDefinition). Tokens/s: greedy generation, one sequence.

            \(stories)
            """
    }
}
