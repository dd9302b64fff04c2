import Foundation
import JSON
import LanguageModel
import Tokenization

/// The texts of a request to `/v1/completions`.
struct CompletionRun: TextRun, Sendable {
    private struct Choice: Sendable {
        var text = ""
        /// Tokens of which nothing was told yet; nil where nothing predicts it.
        var details: [(token: Int, detail: TokenDetail?)] = []
        /// Unicode scalars of the tokens that were told of.
        var offset = 0
        var info: GenerateCompletionInfo?
        /// Whether its end was told.
        var isTold = false
    }

    let fields: SamplingFields
    let inputs: [GenerationRequest.Input]
    private let served: ServedModel
    private let echoes: Bool
    private let logProbabilities: Int?
    private let identity = AnswerIdentity(prefix: "cmpl-")
    private let promptTokenCount: Int
    private var choices: [Choice]

    init(_ request: CompletionRequest, served: ServedModel) {
        fields = request.fields
        self.served = served
        (echoes, logProbabilities) = (request.echoes, request.logProbabilities)
        promptTokenCount = request.prompts.reduce(0) { $0 + $1.tokens.count }
        var inputs: [GenerationRequest.Input] = []
        var choices: [Choice] = []
        for prompt in request.prompts {
            for number in 0..<request.fields.choices {
                var parameters = request.fields.parameters
                // The same for each prompt, so that it has the text that it has alone.
                parameters.seed &+= UInt64(number)
                var input = GenerationRequest.Input(prompt: prompt.tokens, parameters: parameters)
                input.tokenDetails = request.logProbabilities
                input.promptDetails = request.echoes ? request.logProbabilities : nil
                inputs.append(input)
                var choice = Choice()
                if request.echoes {
                    choice.text = prompt.text ?? served.tokenizer.decode(prompt.tokens, skipSpecialTokens: false)
                    if request.logProbabilities != nil { choice.details.append((prompt.tokens[0], nil)) }
                }
                choices.append(choice)
            }
        }
        (self.inputs, self.choices) = (inputs, choices)
    }

    mutating func take(_ index: Int, _ part: GenerationEngine.Part) {
        switch part {
        case .text(let text): choices[index].text += text
        case .detail(.prompt(let details)): choices[index].details += details.map { ($0.chosen.token, $0) }
        case .detail(.token(let detail)): choices[index].details.append((detail.chosen.token, detail))
        case .info(let info): choices[index].info = info
        }
    }

    func answer() -> JSONValue {
        var copy = self
        let choices = copy.choices.indices.map { copy.choice($0, end: copy.choices[$0].info) }
        return identity.json(
            "text_completion", served, choices: choices, more: [("usage", usage), ("timings", timings)])
    }

    func opening() -> [JSONValue] { [] }

    mutating func chunks() -> [JSONValue] {
        let usage: [(String, JSONValue)] = fields.includesUsage ? [("usage", .null)] : []
        var chunks: [JSONValue] = []
        for index in choices.indices {
            let isAtEnd = choices[index].info != nil && !choices[index].isTold
            if !choices[index].text.isEmpty || isAtEnd && !choices[index].details.isEmpty {
                let choice = choice(index, end: nil)
                chunks.append(identity.json("text_completion", served, choices: [choice], more: usage))
            }
            guard isAtEnd else { continue }
            // A chunk of its own, without text: there are clients that take none from the chunk with the reason.
            let timings = choices.allSatisfy { $0.info != nil } ? [("timings", timings)] : []
            let end = choice(index, end: choices[index].info)
            chunks.append(identity.json("text_completion", served, choices: [end], more: usage + timings))
            choices[index].isTold = true
        }
        return chunks
    }

    func usageChunk() -> JSONValue { identity.json("text_completion", served, choices: [], more: [("usage", usage)]) }

    /// What has come of a text since it was last told of.
    private mutating func choice(_ index: Int, end: GenerateCompletionInfo?) -> JSONValue {
        defer { (choices[index].text, choices[index].details) = ("", []) }
        let choice = choices[index]
        return .object(
            JSONObject([
                ("index", .integer(index)), ("text", .string(choice.text)),
                ("logprobs", logProbabilities == nil ? .null : logProbabilities(index)),
                ("finish_reason", end.map { .string($0.finishReason) } ?? .null),
            ]))
    }

    private mutating func logProbabilities(_ index: Int) -> JSONValue {
        var tokens: [JSONValue] = []
        var values: [JSONValue] = []
        var likeliest: [JSONValue] = []
        var offsets: [JSONValue] = []
        for (token, detail) in choices[index].details {
            let text = served.text(of: token)
            tokens.append(.string(text))
            offsets.append(.integer(choices[index].offset))
            choices[index].offset += text.unicodeScalars.count
            guard let detail else {
                values.append(.null)
                likeliest.append(.null)
                continue
            }
            values.append(.logProbability(detail.chosen.logProbability))
            var object = JSONObject()
            // The chosen one too, beyond the likeliest; of two that read alike the likelier one.
            for candidate in detail.likeliest + [detail.chosen] {
                let text = served.text(of: candidate.token)
                if object[text] == nil { object[text] = .logProbability(candidate.logProbability) }
            }
            likeliest.append(.object(object))
        }
        return .object(
            JSONObject([
                ("tokens", .array(tokens)), ("token_logprobs", .array(values)), ("top_logprobs", .array(likeliest)),
                ("text_offset", .array(offsets)),
            ]))
    }

    private var usage: JSONValue { .usage(promptTokens: promptTokenCount, choices.compactMap(\.info)) }
    private var timings: JSONValue { .timings(choices.compactMap(\.info)) }
}

/// What is the same in each chunk of an answer.
struct AnswerIdentity: Sendable {
    private let id: String
    /// What tells it from other answers.
    let suffix: String
    private let created = Int(Date.now.timeIntervalSince1970)

    init(prefix: String) {
        suffix = UUID().uuidString.replacing("-", with: "").lowercased()
        id = prefix + suffix
    }

    func json(
        _ object: String, _ served: ServedModel, choices: [JSONValue], more: [(String, JSONValue)]
    ) -> JSONValue {
        .object(
            JSONObject(
                [
                    ("id", .string(id)), ("object", .string(object)), ("created", .integer(created)),
                    ("model", .string(served.settings.modelName)), ("choices", .array(choices)),
                ] + more))
    }
}

extension GenerateCompletionInfo {
    /// In OpenAI's words.
    var finishReason: String {
        switch stopReason {
        case .endOfSequence, .stopString: "stop"
        case .length, .contextFull: "length"
        }
    }

    /// Tokens that were chosen, the one that ended the text too.
    var chosenCount: Int { tokens.count + (stopToken == nil ? 0 : 1) }
}

extension JSONValue {
    /// A logarithm as JSON can have it: OpenAI's -9999 for none.
    static func logProbability(_ value: Double) -> JSONValue { .number(value.isFinite ? max(value, -9999) : -9999) }

    /// - Parameter promptTokens: each prompt's once, whatever the number of its choices.
    static func usage(promptTokens: Int, _ infos: [GenerateCompletionInfo]) -> JSONValue {
        let completion = infos.reduce(0) { $0 + $1.chosenCount }
        return .object(
            JSONObject([
                ("prompt_tokens", .integer(promptTokens)), ("completion_tokens", .integer(completion)),
                ("total_tokens", .integer(promptTokens + completion)),
                (
                    "prompt_tokens_details",
                    .object(JSONObject([("cached_tokens", .integer(infos.map(\.cachedTokenCount).max() ?? 0))]))
                ),
            ]))
    }

    /// Speeds, which OpenAI's API does not have.
    static func timings(_ infos: [GenerateCompletionInfo]) -> JSONValue {
        func mean(_ rates: [Double]) -> JSONValue {
            rates.isEmpty ? .null : .number(rates.reduce(0, +) / Double(rates.count))
        }
        return .object(
            JSONObject([
                (
                    "prompt_tokens_per_second",
                    mean(infos.filter { $0.promptTokenCount > 0 }.map(\.promptTokensPerSecond))
                ),
                ("generated_tokens_per_second", mean(infos.filter { $0.stepCount > 0 }.map(\.tokensPerSecond))),
            ]))
    }
}
