import Foundation
import JSON
import LanguageModel

/// The fields that both kinds of completions have in common, checked.
struct SamplingFields {
    var parameters: GenerateParameters
    /// Choices for each prompt.
    let choices: Int
    let streams: Bool
    /// Whether a stream ends with a chunk of counts.
    let includesUsage: Bool
    /// Whether prompts may begin with what an earlier one has read.
    let usesCache: Bool
    /// Whether texts go on until their length: what ends one is never chosen. Benchmarks ask for it.
    let ignoresEnd: Bool

    /// What other servers take to hold an answer to a form. To leave it out of account would give what the client cannot read.
    private static let constraints = [
        "grammar", "json_schema", "structured_outputs", "guided_json", "guided_regex", "guided_choice",
        "guided_grammar",
    ]

    /// - Throws: ``APIError``, `JSONNodeError`.
    init(_ body: JSONNode, served: ServedModel) throws {
        let (settings, vocabularySize) = (served.settings, served.model.configuration.vocabularySize)
        if let model = try body["model"].nonNull?.string(), !settings.acceptsAnyModel, model != settings.modelName {
            throw APIError.unknownModel(model, known: settings.modelName)
        }
        var parameters = GenerateParameters(temperature: 1, topP: 1)
        if let value = try body.real("temperature", in: 0...100) { parameters.temperature = Float(value) }
        if let value = try body.real("top_p", in: 0...1) {
            guard value > 0 else { throw APIError.invalid(body["top_p"], "a number above 0, at most 1") }
            parameters.topP = Float(value)
        }
        if let value = try body.whole("top_k", in: -1...1 << 30) { parameters.topK = max(0, value) }
        if let value = try body.real("min_p", in: 0...1) { parameters.minP = Float(value) }
        // As transformers and vLLM have it, of the whole text; by llama.cpp's name of its last 64 tokens.
        for (name, count) in [("repetition_penalty", served.context), ("repeat_penalty", 64)] {
            guard let value = try body.real(name, in: 0.01...100) else { continue }
            (parameters.repetitionPenalty, parameters.repetitionContextSize) = (Float(value), count)
        }
        if let value = try body.real("frequency_penalty", in: -2...2) { parameters.frequencyPenalty = Float(value) }
        if let value = try body.real("presence_penalty", in: -2...2) { parameters.presencePenalty = Float(value) }
        parameters.seed =
            try body.whole("seed", in: Int.min...Int.max).map { UInt64(bitPattern: Int64($0)) }
            ?? UInt64.random(in: .min ... .max)
        parameters.stopStrings = try Self.stopStrings(body["stop"])
        parameters.logitBias = try Self.biases(body["logit_bias"], vocabularySize: vocabularySize)
        ignoresEnd = try body["ignore_eos"].nonNull?.boolean() ?? false
        if ignoresEnd {
            let ends = served.model.configuration.endOfSequence + [served.tokenizer.endOfSequence].compactMap(\.self)
            for token in ends { parameters.logitBias[token] = -.infinity }
        }
        self.parameters = parameters
        choices = try body.whole("n", in: 1...RequestLimits.choices) ?? 1
        streams = try body["stream"].nonNull?.boolean() ?? false
        let streamOptions = body["stream_options"].nonNull
        includesUsage = try streamOptions?["include_usage"].nonNull?.boolean() ?? false
        guard streams || streamOptions == nil else {
            throw APIError.badRequest("stream_options: it goes with stream: true.", parameter: "stream_options")
        }
        usesCache = try body["cache_prompt"].nonNull?.boolean() ?? true
        try Self.refuseConstraints(body)
    }

    private static func refuseConstraints(_ body: JSONNode) throws {
        if let kind = try body["response_format"].nonNull?["type"].string(), kind != "text" {
            throw APIError.badRequest("response_format: only {\"type\": \"text\"}.", parameter: "response_format")
        }
        for name in constraints where body[name].nonNull != nil && body[name].value != .string("") {
            throw APIError.badRequest(
                "\(name): this server does not hold answers to a form. Leave it out.", parameter: name)
        }
    }

    private static func stopStrings(_ node: JSONNode) throws -> [String] {
        let strings: [String] =
            switch node.value {
            case nil, .null: []
            case .string(let string): [string]
            default: try node.strings()
            }
        guard strings.count <= RequestLimits.stopStrings,
            strings.allSatisfy({ $0.utf8.count <= RequestLimits.stopStringBytes })
        else {
            throw APIError.invalid(
                node,
                "at most \(RequestLimits.stopStrings) strings of at most \(RequestLimits.stopStringBytes) bytes each")
        }
        return strings
    }

    /// `{"TOKEN": bias}`, as OpenAI has it, or `[[TOKEN, bias]]` as llama.cpp; false bans the token.
    private static func biases(_ node: JSONNode, vocabularySize: Int) throws -> [Int: Float] {
        guard let node = node.nonNull else { return [:] }
        let pairs: [(token: String, bias: JSONNode)]
        if case .array = node.value {
            pairs = try node.elements().map { pair in
                let elements = try pair.elements()
                guard elements.count == 2 else { throw APIError.invalid(pair, "a token and its bias") }
                return (String(try elements[0].integer()), elements[1])
            }
        } else {
            pairs = try node.members().map { ($0.key, $0.node) }
        }
        guard pairs.count <= RequestLimits.biases else {
            throw APIError.invalid(node, "at most \(RequestLimits.biases) tokens")
        }
        func id(_ token: String) -> Int? { Int(token).flatMap { (0..<vocabularySize).contains($0) ? $0 : nil } }
        let unknown = pairs.map(\.token).filter { id($0) == nil }
        guard unknown.isEmpty else {
            throw APIError.badRequest(
                "logit_bias: there is no token \(unknown.sorted().prefix(5).map { $0.prefix(50) }.joined(separator: ", ")); "
                    + "expected ids below \(vocabularySize).", parameter: "logit_bias")
        }
        var biases: [Int: Float] = [:]
        for (token, bias) in pairs {
            guard let token = id(token) else { continue }
            if case .boolean(false) = bias.value {
                biases[token] = -.infinity
                continue
            }
            let value = try bias.number()
            guard (-100...100).contains(value) else { throw APIError.invalid(bias, "a number from -100 to 100") }
            biases[token] = Float(value)
        }
        return biases
    }
}

extension JSONNode {
    /// A number of a field; nil where it is missing or null.
    func real(_ key: String, in bounds: ClosedRange<Double>) throws -> Double? {
        guard let node = self[key].nonNull else { return nil }
        guard let value = try? node.number(), bounds.contains(value) else {
            throw APIError.invalid(node, "a number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }

    /// A whole number of a field, also as 8.0; nil where it is missing or null.
    func whole(_ key: String, in bounds: ClosedRange<Int>) throws -> Int? {
        guard let node = self[key].nonNull else { return nil }
        let value: Int? =
            switch node.value {
            case .integer(let integer): integer
            // Beyond 2^53 it may be another number than the one that was written.
            case .number(let number) where abs(number) <= 0x1p53: Int(exactly: number)
            default: nil
            }
        guard let value, bounds.contains(value) else {
            throw APIError.invalid(
                node,
                bounds == Int.min...Int.max
                    ? "a whole number" : "a whole number from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return value
    }
}
