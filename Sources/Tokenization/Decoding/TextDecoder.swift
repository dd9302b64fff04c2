/// Tokens to text, through stages in order.
struct TextDecoder: Sendable {
    private let initialStages: [any DecoderStage]
    private var stages: [any DecoderStage]

    init(stages: [any DecoderStage]) {
        initialStages = stages
        self.stages = stages
    }

    /// The text that is settled with the next token: valid UTF-8.
    mutating func append(_ token: [UInt8]) -> [UInt8] {
        pass([token], finishing: false)
    }

    /// The text that was held back. The decoder is then as it was at the beginning.
    mutating func finish() -> [UInt8] {
        let text = pass([], finishing: true)
        stages = initialStages
        return text
    }

    private mutating func pass(_ tokens: [[UInt8]], finishing: Bool) -> [UInt8] {
        var tokens = tokens
        for index in stages.indices {
            var output: [[UInt8]] = []
            for token in tokens { stages[index].append(token, to: &output) }
            if finishing { stages[index].finish(to: &output) }
            tokens = output
        }
        return tokens.count == 1 ? tokens[0] : Array(tokens.joined())
    }
}
