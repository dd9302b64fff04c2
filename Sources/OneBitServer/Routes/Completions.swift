import Foundation
import JSON
import LanguageModel
import Tokenization

/// The texts of a request to `/v1/completions`.
struct CompletionRun: TextRun, Sendable {
    private struct Choice: Sendable {
        var text = ""
        /// What is echoed, until the details of its tokens have come.
        var echo = ""
        /// Tokens of which nothing was told yet; nil where nothing predicts it.
        var details: [(token: Int, detail: TokenDetail?)] = []
        /// Those whose text has not come yet.
        var pendingDetails: [(token: Int, detail: TokenDetail?)] = []
        /// Unicode scalars of the tokens that were told of.
        var offset = 0
        /// Says how long the tokens' text is, which depends on those before them.
        var decoder: StreamingDecoder?
        var info: GenerateCompletionInfo?
        /// Whether its end was told.
        var isTold = false

        mutating func settle(_ more: String) {
            text += echo + more
            details += pendingDetails
            (echo, pendingDetails) = ("", [])
        }
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
                choices.append(Self.choice(prompt, of: request, tokenizer: served.tokenizer))
            }
        }
        (self.inputs, self.choices) = (inputs, choices)
    }

    private static func choice(
        _ prompt: CompletionRequest.Prompt, of request: CompletionRequest, tokenizer: any Tokenizer
    ) -> Choice {
        var choice = Choice()
        let echo = request.echoes ? prompt.text ?? tokenizer.decode(prompt.tokens, skipSpecialTokens: false) : ""
        guard request.logProbabilities != nil else {
            choice.text = echo
            return choice
        }
        choice.echo = echo
        // A text has no BOS that the tokenizer adds; ids are echoed with all of them.
        var decoder = StreamingDecoder(
            tokenizer: tokenizer, skipSpecialTokens: !request.echoes || prompt.text != nil)
        if request.echoes {
            choice.pendingDetails.append((prompt.tokens[0], nil))
        } else {
            for token in prompt.tokens { _ = decoder.append(token) }
        }
        choice.decoder = decoder
        return choice
    }

    mutating func take(_ index: Int, _ part: GenerationEngine.Part) {
        switch part {
        case .text(let text): choices[index].settle(text)
        case .detail(.prompt(let details)): choices[index].pendingDetails += details.map { ($0.chosen.token, $0) }
        case .detail(.token(let detail)): choices[index].pendingDetails.append((detail.chosen.token, detail))
        case .info(let info):
            choices[index].info = info
            choices[index].settle("")
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
            choices[index].offset += choices[index].decoder?.append(token).unicodeScalars.count ?? 0
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

    private var usage: JSONValue { .usage(promptTokens: promptTokenCount, choices.compactMap(\.info), fields) }
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

    /// - Parameters:
    ///   - promptTokens: each prompt's once, whatever the number of its choices.
    ///   - infos: the choices of the first prompt, then those of the next.
    static func usage(promptTokens: Int, _ infos: [GenerateCompletionInfo], _ fields: SamplingFields) -> JSONValue {
        let completion = infos.reduce(0) { $0 + $1.chosenCount }
        // Choices take over what the first of a prompt has read: not counted, since it was not there before.
        let cached = stride(from: 0, to: fields.usesCache ? infos.count : 0, by: fields.choices).reduce(0) {
            $0 + (infos[$1..<min($1 + fields.choices, infos.count)].map(\.cachedTokenCount).min() ?? 0)
        }
        return .object(
            JSONObject([
                ("prompt_tokens", .integer(promptTokens)), ("completion_tokens", .integer(completion)),
                ("total_tokens", .integer(promptTokens + completion)),
                (
                    "prompt_tokens_details",
                    .object(JSONObject([("cached_tokens", .integer(cached))]))
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
                    mean(infos.filter { $0.promptTokenCount > 0 && $0.promptTime > .zero }.map(\.promptTokensPerSecond))
                ),
                ("generated_tokens_per_second", mean(infos.filter { $0.stepCount > 0 }.map(\.tokensPerSecond))),
            ]))
    }
}
