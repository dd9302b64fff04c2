import JSON
import LanguageModel
import Tokenization

/// A request to `/v1/completions`.
struct CompletionRequest {
    struct Prompt {
        let tokens: [Int]
        /// As the client wrote it; nil of tokens.
        let text: String?
    }

    var fields: SamplingFields
    let prompts: [Prompt]
    /// Whether the texts begin with their prompts.
    let echoes: Bool
    /// How many of the likeliest tokens are told with each token; nil tells nothing.
    let logProbabilities: Int?

    private static let standardTokens = 16

    /// - Throws: ``APIError``, `JSONNodeError`, `TokenizerError`.
    init(_ body: JSONNode, served: ServedModel) throws {
        let vocabulary = served.model.configuration.vocabularySize
        fields = try SamplingFields(body, served: served)
        if let suffix = try body["suffix"].nonNull?.string(), !suffix.isEmpty {
            throw APIError.badRequest("suffix: the model cannot fill in the middle. Leave it out.", parameter: "suffix")
        }
        if let best = try body.whole("best_of", in: 1...RequestLimits.choices), best != fields.choices {
            throw APIError.badRequest("best_of: only as many as n. Leave it out.", parameter: "best_of")
        }
        echoes = try body["echo"].nonNull?.boolean() ?? false
        logProbabilities = try body.whole("logprobs", in: 0...RequestLimits.topLogProbabilities)
        let maximum = try body.whole("max_tokens", in: 0...1 << 30) ?? Self.standardTokens
        guard maximum > 0 || echoes else {
            throw APIError.badRequest("max_tokens: 0 goes with echo only.", parameter: "max_tokens")
        }
        fields.parameters.maxTokens = maximum
        // Whoever reads an echo counts its tokens by the text's own.
        let addsSpecialTokens = try body["add_special_tokens"].nonNull?.boolean() ?? !echoes
        prompts = try Self.prompts(
            body["prompt"], tokenizer: served.tokenizer, addsSpecialTokens: addsSpecialTokens)
        guard prompts.count * fields.choices <= RequestLimits.texts else {
            throw APIError.badRequest("n: at most \(RequestLimits.texts) texts in one request.", parameter: "n")
        }
        for (index, tokens) in prompts.map(\.tokens).enumerated() {
            guard !tokens.isEmpty else { throw APIError.badRequest("prompt: it has no tokens.", parameter: "prompt") }
            guard tokens.count <= served.context else {
                throw APIError.contextExceeded(tokens: tokens.count, context: served.context, parameter: "prompt")
            }
            if let token = tokens.first(where: { !(0..<vocabulary).contains($0) }) {
                throw APIError.badRequest(
                    "prompt\(prompts.count > 1 ? "[\(index)]" : ""): there is no token \(token); expected 0 to \(vocabulary - 1).",
                    parameter: "prompt")
            }
        }
    }

    /// A text, several, token ids, or lists of them.
    private static func prompts(
        _ node: JSONNode, tokenizer: any Tokenizer, addsSpecialTokens: Bool
    ) throws -> [Prompt] {
        func prompt(_ text: String) throws -> Prompt {
            let tokens = try tokenizer.encode(text, addSpecialTokens: addsSpecialTokens)
            return Prompt(
                tokens: tokens.isEmpty ? [tokenizer.beginOfSequence].compactMap(\.self) : tokens, text: text)
        }
        switch node.value {
        case .string(let text): return [try prompt(text)]
        case .array(let elements):
            guard let first = elements.first else { break }
            if case .integer = first { return [Prompt(tokens: try node.integers(), text: nil)] }
            guard elements.count <= RequestLimits.prompts else {
                throw APIError.badRequest(
                    "prompt: at most \(RequestLimits.prompts) in one request, found \(elements.count).",
                    parameter: "prompt")
            }
            return try node.elements().map { element in
                if case .string(let text) = element.value { return try prompt(text) }
                return Prompt(tokens: try element.integers(), text: nil)
            }
        default: break
        }
        throw APIError.badRequest(
            "prompt: expected a text, a list of texts, token ids, or a list of these.", parameter: "prompt")
    }
}
