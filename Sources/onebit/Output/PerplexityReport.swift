import OneBitEvaluation

/// What `perplexity` prints: the figures and all that they mean.
struct PerplexityReport: Encodable {
    /// The figures of one text, or of several together.
    struct Figures: Encodable {
        let source: String
        let perplexity: Double
        let perplexityStandardError: Double?
        let meanNegativeLogLikelihood: Double
        let wordPerplexity: Double?
        let bytePerplexity: Double?
        let bitsPerByte: Double?
        let words: Int?
        let bytes: Int?
        let windows: Int
        let tokensPredicted: Int
        let tokensInText: Int

        init(_ result: PerplexityResult) {
            source = result.text
            perplexity = result.perplexity
            perplexityStandardError = result.standardError
            meanNegativeLogLikelihood = result.negativeLogLikelihood.mean
            wordPerplexity = result.wordPerplexity
            bytePerplexity = result.bytePerplexity
            bitsPerByte = result.bitsPerByte
            words = result.extent?.words
            bytes = result.extent?.bytes
            windows = result.windows
            tokensPredicted = result.tokensScored
            tokensInText = result.tokensInText
        }
    }

    /// What the figures mean, by their keys.
    private let definitions: [String: String]
    private let joint: Figures
    private let files: [Figures]
    private let tokenizer: String
    private let beginOfSequence: String
    private let window: Int
    private let tokensPerSecond: Double

    init(joint: PerplexityResult, files: [PerplexityResult], tokenizer: String, sequences: String, seconds: Double) {
        self.joint = Figures(joint)
        self.files = files.map(Figures.init)
        self.tokenizer = tokenizer
        beginOfSequence = sequences
        window = joint.plan.length
        tokensPerSecond = Double(joint.tokensInWindows) / max(seconds, 1e-9)
        var definitions = [
            "perplexity": PerplexityResult.definition(joint.plan),
            "perplexity_standard_error": PerplexityResult.standardErrorDefinition,
        ]
        if files.contains(where: { $0.extent != nil }) {
            definitions["word_perplexity"] = PerplexityResult.wordPerplexityDefinition
            definitions["byte_perplexity"] = PerplexityResult.bytePerplexityDefinition
            definitions["bits_per_byte"] = PerplexityResult.bitsPerByteDefinition
        }
        self.definitions = definitions
    }

    private enum CodingKeys: CodingKey {
        case definitions, files, tokenizer, beginOfSequence, window, tokensPerSecond
    }

    /// The joint figures stand at the top, those of the files below `files`.
    func encode(to encoder: any Encoder) throws {
        try joint.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(definitions, forKey: .definitions)
        try container.encode(files, forKey: .files)
        try container.encode(tokenizer, forKey: .tokenizer)
        try container.encode(beginOfSequence, forKey: .beginOfSequence)
        try container.encode(window, forKey: .window)
        try container.encode(tokensPerSecond, forKey: .tokensPerSecond)
    }

    /// For people: a table, and what its columns mean.
    var text: String {
        let hasExtent = files.contains { $0.words != nil }
        var table = TextTable(
            [.text("text"), .figure("perplexity"), .figure("±")]
                + (hasExtent ? [.figure("per word"), .figure("per byte"), .figure("bits per byte")] : [])
                + [.figure("windows"), .figure("predicted"), .figure("tokens")])
        for figures in files.count > 1 ? files + [joint] : files {
            func cell(_ value: Double?) -> String { value.map { Quantity.fixed($0, digits: 4) } ?? "-" }
            let isJoint = table.rows.count == files.count
            table.append(
                [isJoint ? "all" : figures.source, cell(figures.perplexity), cell(figures.perplexityStandardError)]
                    + (hasExtent
                        ? [figures.wordPerplexity, figures.bytePerplexity, figures.bitsPerByte].map(cell) : [])
                    + [figures.windows, figures.tokensPredicted, figures.tokensInText].map(Quantity.grouped))
        }
        let lines =
            [definitions["perplexity"]]
            + (hasExtent ? ["word_perplexity", "byte_perplexity", "bits_per_byte"].map { definitions[$0] } : [])
            + [
                "±, " + PerplexityResult.standardErrorDefinition,
                "tokens: \(tokenizer)'s tokenizer; \(beginOfSequence); "
                    + "\(Quantity.fixed(tokensPerSecond, digits: 0)) a second",
            ]
        return table.text + "\n" + lines.compactMap { $0 }.map { $0 + ".\n" }.joined()
    }
}
