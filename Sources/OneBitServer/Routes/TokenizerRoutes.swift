import JSON
import LanguageModel
import Tokenization

/// `/tokenize`, `/detokenize` and `/tokenizer_info`, in vLLM's form; llama.cpp's fields are taken too.
extension ServedModel {
    func tokenize(_ body: JSONNode) throws -> JSONValue {
        let tokens: [Int]
        if body["messages"].nonNull != nil {
            tokens = try ChatFields(body).tokens(by: container.chatTemplate, tokenizer: tokenizer)
        } else {
            let isLlama = body["content"].nonNull != nil
            let text = try (body["content"].nonNull ?? body["prompt"]).string()
            let addsSpecialTokens =
                try (body["add_special_tokens"].nonNull ?? body["add_special"].nonNull)?.boolean() ?? !isLlama
            tokens = try tokenizer.encode(text, addSpecialTokens: addsSpecialTokens)
        }
        let ids: JSONValue =
            try body["with_pieces"].nonNull?.boolean() ?? false
            ? .array(tokens.map { .object(JSONObject([("id", .integer($0)), ("piece", piece(of: $0))])) })
            : .array(tokens.map { .integer($0) })
        var members: [(String, JSONValue)] = [
            ("count", .integer(tokens.count)), ("max_model_len", .integer(context)),
            ("tokens", ids),
        ]
        let wantsTokens = try body["return_token_strs"].nonNull?.boolean() ?? false
        members.append(
            ("token_strs", wantsTokens ? .array(tokens.map { .string(tokenizer.token(of: $0) ?? "") }) : .null))
        return .object(JSONObject(members))
    }

    /// A token's text, or its bytes where these are no text, as llama.cpp gives them.
    private func piece(of token: Int) -> JSONValue {
        let bytes = tokenizer.bytes(of: token)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            return .array(bytes.map { .integer(Int($0)) })
        }
        return .string(text)
    }

    func detokenize(_ body: JSONNode) throws -> JSONValue {
        let tokens = try body["tokens"].integers()
        if let token = tokens.first(where: { !(0..<tokenizer.vocabularySize).contains($0) }) {
            throw APIError.badRequest("tokens: there is no token \(token).", parameter: "tokens")
        }
        let text = JSONValue.string(tokenizer.decode(tokens, skipSpecialTokens: false))
        return .object(JSONObject([("prompt", text), ("content", text)]))
    }

    var tokenizerInfo: JSONValue {
        func token(_ id: Int?) -> JSONValue { id.flatMap(tokenizer.token(of:)).map { .string($0) } ?? .null }
        return .object(
            JSONObject([
                ("bos_token", token(tokenizer.beginOfSequence)),
                ("eos_token", token(tokenizer.endOfSequence ?? model.configuration.endOfSequence.first)),
                ("pad_token", .null), ("vocab_size", .integer(tokenizer.vocabularySize)),
                ("model_max_length", .integer(context)),
                ("chat_template", (try? container.chatTemplate.source).map { .string($0) } ?? .null),
            ]))
    }

    var models: JSONValue {
        .object(JSONObject([("object", .string("list")), ("data", .array([description]))]))
    }

    /// The model, by the name that it has here.
    ///
    /// - Throws: ``APIError``
    func model(named name: String) throws -> JSONValue {
        guard name == settings.modelName else { throw APIError.unknownModel(name, known: settings.modelName) }
        return description
    }

    private var description: JSONValue {
        let members: [(String, JSONValue)] = [
            ("id", .string(settings.modelName)), ("object", .string("model")), ("created", .integer(created)),
            ("owned_by", .string("onebit")), ("max_model_len", .integer(context)),
            (
                "default_sampling_params",
                .object(
                    JSONObject([
                        ("temperature", .integer(1)), ("top_p", .integer(1)), ("top_k", .integer(0)),
                        ("min_p", .integer(0)), ("repetition_penalty", .integer(1)),
                        ("max_tokens", .integer(settings.standardAnswerTokens)),
                    ]))
            ),
            (
                "meta",
                .object(
                    JSONObject([
                        ("n_vocab", .integer(self.model.configuration.vocabularySize)),
                        ("n_ctx_train", .integer(self.model.configuration.maximumPositions)),
                        ("n_params", .integer(self.model.configuration.parameterCount)),
                    ]))
            ),
        ]
        return .object(JSONObject(members))
    }
}
