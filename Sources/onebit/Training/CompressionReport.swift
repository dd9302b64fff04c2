import OneBitEvaluation

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
        var story: String
    }

    /// In the order of the road: teacher, start, packed.
    var models: [Model]
    /// The packed model held against the teacher, on the held-out text.
    var comparison: ComparisonFigures
    /// The zero-shot tasks of both, where there were data.
    var tasks: EvaluationReport?
    /// What the figures mean, by their keys.
    var definitions: [String: String]
    /// Wall-clock time of start, synthesis, distillation and packing.
    var compressionSeconds: Double
    var recipe: CompressionRecipe

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

    /// For people: a table and the stories.
    var text: String {
        let stories = models.map { "\($0.name):\n\($0.story)\n" }.joined(separator: "\n")
        return """
            \(table(withSpeed: true).text)
            Compressed in \(Quantity.duration(seconds: compressionSeconds)). Perplexity of the packed model is \
            \(Quantity.fixed(comparison.perplexityRatio.value, digits: 3)) times the teacher's; it gives the same likeliest \
            token in \(Quantity.fixed(comparison.topOneAgreement.value * 100, digits: 1)) % of places, and its KL divergence \
            from the teacher is \(Quantity.fixed(comparison.klDivergence.value, digits: 3)) nats.
            On \(comparison.source), \(definitions["perplexity"] ?? ""). Tokens/s: greedy generation, one sequence.
            \(tasks.map { "\n\($0.summary.text)\n\($0.legend)\n" } ?? "")
            \(stories)
            """
    }
}
