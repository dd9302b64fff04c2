import Foundation
import JSON
import LanguageModel
import Tokenization

/// The answers of a request to `/v1/chat/completions`.
struct ChatCompletionRun: TextRun, Sendable {
    private struct Choice: Sendable {
        var text = ""
        var details: [TokenDetail] = []
        /// Of tokens whose text has not come yet.
        var pendingDetails: [TokenDetail] = []
        var tools: ToolCallParser?
        var info: GenerateCompletionInfo?
        /// Whether its end was told.
        var isTold = false

        mutating func settleDetails() {
            details += pendingDetails
            pendingDetails = []
        }
    }

    let fields: SamplingFields
    let inputs: [GenerationRequest.Input]
    private let served: ServedModel
    private let logsProbabilities: Bool
    private let identity = AnswerIdentity(prefix: "chatcmpl-")
    private let promptTokenCount: Int
    private var choices: [Choice]

    init(_ request: ChatCompletionRequest, served: ServedModel) {
        fields = request.fields
        self.served = served
        logsProbabilities = request.logProbabilities != nil
        promptTokenCount = request.prompt.count
        inputs = (0..<request.fields.choices).map { number in
            var parameters = request.fields.parameters
            parameters.seed &+= UInt64(number)
            var input = GenerationRequest.Input(prompt: request.prompt, parameters: parameters)
            input.stopTokens = request.stopTokens
            input.tokenDetails = request.logProbabilities
            input.continuesPrompt = false
            return input
        }
        choices = inputs.map { _ in Choice(tools: request.hasTools ? ToolCallParser() : nil) }
    }

    mutating func take(_ index: Int, _ part: GenerationEngine.Part) {
        switch part {
        case .text(let text):
            choices[index].text += choices[index].tools?.append(text) ?? text
            choices[index].settleDetails()
        case .detail(.prompt): break
        case .detail(.token(let detail)): choices[index].pendingDetails.append(detail)
        case .info(let info):
            choices[index].info = info
            choices[index].text += choices[index].tools?.finish() ?? ""
            // The token that ends an answer is no part of it.
            if info.stopToken != nil { _ = choices[index].pendingDetails.popLast() }
            choices[index].settleDetails()
        }
    }

    func answer() -> JSONValue {
        let choices = choices.enumerated().map { index, choice in
            let calls = toolCalls(choice, index: index, isStreamed: false)
            var message: [(String, JSONValue)] = [
                ("role", .string("assistant")),
                ("content", choice.text.isEmpty && calls != nil ? .null : .string(choice.text)), ("refusal", .null),
            ]
            if let calls { message.append(("tool_calls", calls)) }
            return JSONValue.object(
                JSONObject([
                    ("index", .integer(index)), ("message", .object(JSONObject(message))),
                    ("logprobs", logProbabilities(choice)), ("finish_reason", finishReason(choice)),
                ]))
        }
        return identity.json(
            "chat.completion", served, choices: choices, more: [("usage", usage), ("timings", timings)])
    }

    func opening() -> [JSONValue] {
        choices.indices.map {
            chunk($0, delta: [("role", .string("assistant")), ("content", .null)], logProbabilities: .null, end: .null)
        }
    }

    mutating func chunks() -> [JSONValue] {
        var chunks: [JSONValue] = []
        for index in choices.indices {
            let choice = choices[index]
            let isAtEnd = choice.info != nil && !choice.isTold
            if !choice.text.isEmpty || isAtEnd && !choice.details.isEmpty {
                let delta: [(String, JSONValue)] = choice.text.isEmpty ? [] : [("content", .string(choice.text))]
                chunks.append(
                    chunk(index, delta: delta, logProbabilities: logProbabilities(choice), end: .null))
                choices[index].text = ""
                choices[index].details = []
            }
            guard isAtEnd else { continue }
            if let calls = toolCalls(choice, index: index, isStreamed: true) {
                chunks.append(chunk(index, delta: [("tool_calls", calls)], logProbabilities: .null, end: .null))
            }
            let isLast = choices.allSatisfy { $0.info != nil }
            chunks.append(
                chunk(
                    index, delta: [], logProbabilities: .null, end: finishReason(choice),
                    more: isLast ? [("timings", timings)] : []))
            choices[index].isTold = true
        }
        return chunks
    }

    func usageChunk() -> JSONValue {
        identity.json("chat.completion.chunk", served, choices: [], more: [("usage", usage)])
    }

    private func chunk(
        _ index: Int, delta: [(String, JSONValue)], logProbabilities: JSONValue, end: JSONValue,
        more: [(String, JSONValue)] = []
    ) -> JSONValue {
        let choice = JSONObject([
            ("index", .integer(index)), ("delta", .object(JSONObject(delta))), ("logprobs", logProbabilities),
            ("finish_reason", end),
        ])
        return identity.json(
            "chat.completion.chunk", served, choices: [.object(choice)],
            more: (fields.includesUsage ? [("usage", .null)] : []) + more)
    }

    private func finishReason(_ choice: Choice) -> JSONValue {
        guard let info = choice.info else { return .null }
        return .string(choice.tools?.calls.isEmpty == false ? "tool_calls" : info.finishReason)
    }

    private func toolCalls(_ choice: Choice, index: Int, isStreamed: Bool) -> JSONValue? {
        guard let calls = choice.tools?.calls, !calls.isEmpty else { return nil }
        return .array(
            calls.enumerated().map { number, call in
                let function = JSONObject([("name", .string(call.name)), ("arguments", .string(call.arguments))])
                return .object(
                    JSONObject(
                        (isStreamed ? [("index", .integer(number))] : []) + [
                            ("id", .string(identity.callID(choice: index, number: number))),
                            ("type", .string("function")),
                            ("function", .object(function)),
                        ]))
            })
    }

    private func logProbabilities(_ choice: Choice) -> JSONValue {
        guard logsProbabilities else { return .null }
        func members(_ candidate: TokenDetail.Candidate) -> [(String, JSONValue)] {
            let bytes = served.tokenizer.bytes(of: candidate.token)
            return [
                ("token", .string(String(decoding: bytes, as: UTF8.self))),
                ("logprob", .logProbability(candidate.logProbability)),
                ("bytes", .array(bytes.map { .integer(Int($0)) })),
            ]
        }
        let content = choice.details.map { detail in
            let likeliest = detail.likeliest.map { JSONValue.object(JSONObject(members($0))) }
            return JSONValue.object(JSONObject(members(detail.chosen) + [("top_logprobs", .array(likeliest))]))
        }
        return .object(JSONObject([("content", .array(content)), ("refusal", .null)]))
    }

    private var usage: JSONValue { .usage(promptTokens: promptTokenCount, choices.compactMap(\.info), fields) }
    private var timings: JSONValue { .timings(choices.compactMap(\.info)) }
}

extension AnswerIdentity {
    /// The id of a call of a tool.
    func callID(choice: Int, number: Int) -> String { "call_\(suffix)_\(choice)_\(number)" }
}
