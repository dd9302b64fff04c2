import Foundation
import JSON
import TensorFiles

/// The tokenizer in a GGUF file's metadata, as Hugging Face's `tokenizer.json` and `tokenizer_config.json`.
///
/// Two kinds are read (`tokenizer.ggml.model`): `gpt2`, byte-level BPE with its merges, and `llama`, SentencePiece's BPE, of which
/// the merges follow from the scores. Everything else is refused by name.
struct GGUFTokenizer {
    /// The kinds of tokens, by the numbers that SentencePiece gives them (`tokenizer.ggml.token_type`).
    private enum TokenType: Int {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// How texts are cut before they are merged.
    private enum Kind {
        case byteLevel(GGUFPreTokenizer)
        /// Spaces become "▁", and a text begins with one where the flag says so.
        case sentencePiece(addsPrefix: Bool)
    }

    private let metadata: GGUFMetadata
    private let kind: Kind
    /// Spellings by id; UTF-8.
    private let tokens: [ArraySlice<UInt8>]
    private let types: [TokenType]
    private let beginOfSequence: Int?
    private let endOfSequence: Int?
    private let addsBeginOfSequence: Bool
    private let addsEndOfSequence: Bool

    private static let modelKey = "tokenizer.ggml.model"
    private static let tokensKey = "tokenizer.ggml.tokens"
    private static let typesKey = "tokenizer.ggml.token_type"
    private static let mergesKey = "tokenizer.ggml.merges"
    private static let scoresKey = "tokenizer.ggml.scores"

    /// Whether a file has a tokenizer at all: test files of weights alone have none.
    static func isPresent(in metadata: GGUFMetadata) -> Bool { metadata[tokensKey] != nil }

    /// - Throws: `GGUFError`.
    init(_ metadata: GGUFMetadata) throws {
        self.metadata = metadata
        let model = try metadata.required(Self.modelKey, metadata.string(Self.modelKey))
        guard let tokens = try metadata.required(Self.tokensKey, metadata.array(Self.tokensKey)).stringBytes else {
            throw GGUFError.wrongValue(
                file: metadata.file, key: Self.tokensKey, expected: "strings", found: "something else")
        }
        self.tokens = tokens
        types = try Self.types(metadata, count: tokens.count)
        var addsBegin = false
        switch model {
        case "gpt2":
            let preTokenizer = try GGUFPreTokenizer(metadata)
            kind = .byteLevel(preTokenizer)
            addsBegin = preTokenizer.addsBeginOfSequence
        case "llama":
            kind = .sentencePiece(addsPrefix: try metadata.boolean("tokenizer.ggml.add_space_prefix") ?? true)
            addsBegin = true
        default:
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: Self.modelKey, found: "\"\(model)\"", supported: "\"gpt2\" and \"llama\"")
        }
        addsBeginOfSequence = try metadata.boolean("tokenizer.ggml.add_bos_token") ?? addsBegin
        addsEndOfSequence = try metadata.boolean("tokenizer.ggml.add_eos_token") ?? false
        let hasStandard = model == "llama"
        beginOfSequence = try Self.token("bos", metadata, count: tokens.count) ?? (hasStandard ? 1 : nil)
        endOfSequence = try Self.token("eos", metadata, count: tokens.count) ?? (hasStandard ? 2 : nil)
    }

    private static func types(_ metadata: GGUFMetadata, count: Int) throws -> [TokenType] {
        guard let numbers = try metadata.integers(typesKey) else {
            return [TokenType](repeating: .normal, count: count)
        }
        guard numbers.count == count else {
            throw GGUFError.wrongValue(
                file: metadata.file, key: typesKey, expected: "\(count) types, one for each token",
                found: "\(numbers.count)")
        }
        return try numbers.enumerated().map { id, number in
            guard let type = TokenType(rawValue: number) else {
                throw GGUFError.wrongValue(
                    file: metadata.file, key: "\(typesKey)[\(id)]", expected: "1 to 6", found: "\(number)")
            }
            return type
        }
    }

    private static func token(_ name: String, _ metadata: GGUFMetadata, count: Int) throws -> Int? {
        let key = "tokenizer.ggml.\(name)_token_id"
        // All bits set stand for none.
        guard let id = try metadata.integer(key, in: 0...Int(UInt32.max)), id != Int(UInt32.max) else { return nil }
        guard id < count else {
            throw GGUFError.wrongValue(
                file: metadata.file, key: key, expected: "one of \(count) tokens", found: "\(id)")
        }
        return id
    }

    private func spelling(_ id: Int) throws -> String {
        guard let spelling = String(validating: tokens[id], as: UTF8.self) else {
            throw GGUFError.notUTF8(file: metadata.file, place: "\(Self.tokensKey)[\(id)]")
        }
        return spelling
    }

    // MARK: tokenizer.json

    /// `tokenizer.json`.
    ///
    /// - Throws: `GGUFError`.
    func tokenizerFile() throws -> Data {
        let addedTokens = try JSONValue.array(
            addedTokenIDs.map { id in
                .object(JSONObject([("id", .integer(id))] + (try flags(ofToken: id))))
            })
        var text = JSONText()
        text.append(
            """
            {
              "version": "1.0",
              "truncation": null,
              "padding": null,
              "added_tokens": \(addedTokens.serialized()),
              "normalizer": \(normalizer.serialized()),
              "pre_tokenizer": \(preTokenizer.serialized()),
              "post_processor": \(try postProcessor().serialized()),
              "decoder": \(decoder.serialized()),
              "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": \(try unknownToken().serialized()),
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": \(isByteLevel ? "false" : "true"),
                "byte_fallback": \(isByteLevel ? "false" : "true"),
                "ignore_merges": \(ignoresMerges ? "true" : "false"),
                "vocab": {
            """)
        try appendVocabulary(to: &text)
        text.append("},\n    \"merges\": [")
        try appendMerges(to: &text)
        text.append("]\n  }\n}\n")
        return Data(text.bytes)
    }

    private var isByteLevel: Bool { if case .byteLevel = kind { true } else { false } }

    private var ignoresMerges: Bool {
        if case .byteLevel(let preTokenizer) = kind { preTokenizer.ignoresMerges } else { false }
    }

    /// Tokens that are found in a text before it is merged. User-defined ones are ordinary text otherwise.
    private var addedTokenIDs: [Int] {
        types.indices.filter {
            [.control, .userDefined].contains(types[$0]) || (types[$0] == .unknown && !isByteLevel)
        }
    }

    private func flags(ofToken id: Int) throws -> [(String, JSONValue)] {
        [
            ("content", .string(try spelling(id))), ("single_word", .boolean(false)), ("lstrip", .boolean(false)),
            ("rstrip", .boolean(false)), ("normalized", .boolean(false)),
            ("special", .boolean(types[id] != .userDefined)),
        ]
    }

    /// Every token but the unused ones: the converter's, which fill the embedding's last rows.
    private func appendVocabulary(to text: inout JSONText) throws {
        var isFirst = true
        for id in tokens.indices where types[id] != .unused {
            guard String(validating: tokens[id], as: UTF8.self) != nil else {
                throw GGUFError.notUTF8(file: metadata.file, place: "\(Self.tokensKey)[\(id)]")
            }
            text.append(isFirst ? "\n      " : ",\n      ")
            text.append(quoted: tokens[id])
            text.append(": \(id)")
            isFirst = false
        }
        text.append("\n    ")
    }

    private func appendMerges(to text: inout JSONText) throws {
        switch kind {
        case .byteLevel:
            guard let merges = try metadata.required(Self.mergesKey, metadata.array(Self.mergesKey)).stringBytes else {
                throw GGUFError.wrongValue(
                    file: metadata.file, key: Self.mergesKey, expected: "strings", found: "something else")
            }
            for (index, merge) in merges.enumerated() {
                guard String(validating: merge, as: UTF8.self) != nil else {
                    throw GGUFError.notUTF8(file: metadata.file, place: "\(Self.mergesKey)[\(index)]")
                }
                text.append(index == 0 ? "\n      " : ",\n      ")
                text.append(quoted: merge)
            }
        case .sentencePiece:
            for (index, merge) in try scoredMerges().enumerated() {
                text.append(index == 0 ? "\n      [" : ",\n      [")
                text.append(quoted: merge.left)
                text.append(", ")
                text.append(quoted: merge.right)
                text.append("]")
            }
        }
        text.append("\n    ")
    }

    private struct Merge {
        let left: ArraySlice<UInt8>
        let right: ArraySlice<UInt8>
        let score: Float
        /// Characters of the two parts.
        let lengths: (Int, Int)
        let leftID: Int
        let rightID: Int
    }

    /// SentencePiece merges the pair whose product has the highest score, so every way to cut a piece in two pieces is a merge.
    /// They are in the order in which transformers' converter writes them: by score, longer left parts first among equals.
    private func scoredMerges() throws -> [Merge] {
        let scores = try metadata.required(Self.scoresKey, metadata.numbers(Self.scoresKey))
        guard scores.count == tokens.count else {
            throw GGUFError.wrongValue(
                file: metadata.file, key: Self.scoresKey, expected: "\(tokens.count) scores, one for each token",
                found: "\(scores.count)")
        }
        var ids: [ArraySlice<UInt8>: Int] = [:]
        for id in tokens.indices where types[id] == .normal { ids[tokens[id]] = id }
        var merges: [Merge] = []
        for id in tokens.indices where types[id] == .normal {
            let token = tokens[id]
            guard token.count <= Self.maximumPieceBytes else {
                throw GGUFError.wrongValue(
                    file: metadata.file, key: "\(Self.tokensKey)[\(id)]",
                    expected: "at most \(Self.maximumPieceBytes) bytes", found: "\(token.count)")
            }
            guard scores[id].isFinite else {
                throw GGUFError.wrongValue(
                    file: metadata.file, key: "\(Self.scoresKey)[\(id)]", expected: "a number", found: "\(scores[id])")
            }
            let length = token.count { !Self.isContinuation($0) }
            var leftLength = 0
            for cut in token.indices where !Self.isContinuation(token[cut]) {
                defer { leftLength += 1 }
                guard cut > token.startIndex, let left = ids[token[..<cut]], let right = ids[token[cut...]] else {
                    continue
                }
                merges.append(
                    Merge(
                        left: token[..<cut], right: token[cut...], score: Float(scores[id]),
                        lengths: (leftLength, length - leftLength), leftID: left, rightID: right))
            }
        }
        // Equal scores are those of one piece, or of pieces that no text tells apart.
        return merges.sorted { first, second in
            if first.score != second.score { return first.score > second.score }
            if first.lengths != second.lengths { return first.lengths > second.lengths }
            return (first.leftID, first.rightID) < (second.leftID, second.rightID)
        }
    }

    /// Longer pieces are refused: the time to find their merges grows with the square of their length.
    private static let maximumPieceBytes = 512

    private static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xC0 == 0x80 }

    private func unknownToken() throws -> JSONValue {
        guard !isByteLevel else { return .null }
        let id = try Self.token("unknown", metadata, count: tokens.count) ?? types.firstIndex(of: .unknown)
        return try id.map { .string(try spelling($0)) } ?? .null
    }

    private func postProcessor() throws -> JSONValue {
        let text = JSONValue.object(
            JSONObject([("Sequence", .object(JSONObject([("id", .string("A")), ("type_id", .integer(0))])))]))
        let begin = addsBeginOfSequence ? beginOfSequence : nil
        let end = addsEndOfSequence ? endOfSequence : nil
        guard begin != nil || end != nil else { return .null }
        func piece(_ id: Int) throws -> JSONValue {
            .object(
                JSONObject([
                    (
                        "SpecialToken",
                        .object(JSONObject([("id", .string(try spelling(id))), ("type_id", .integer(0))]))
                    )
                ]))
        }
        let single = try [begin.map(piece), text, end.map(piece)].compactMap { $0 }
        var special = JSONObject()
        for id in [begin, end].compactMap({ $0 }) {
            let name = try spelling(id)
            special[name] = .object(
                JSONObject([
                    ("id", .string(name)), ("ids", .array([.integer(id)])), ("tokens", .array([.string(name)])),
                ]))
        }
        return .object(
            JSONObject([
                ("type", .string("TemplateProcessing")), ("single", .array(single)), ("pair", .array(single + single)),
                ("special_tokens", .object(special)),
            ]))
    }

    private static let separator = "\u{2581}"

    private static func component(_ type: String, _ members: [(String, JSONValue)] = []) -> JSONValue {
        .object(JSONObject([("type", .string(type))] + members))
    }

    private static func replacement(of pattern: String, by content: String) -> JSONValue {
        component(
            "Replace",
            [("pattern", .object(JSONObject([("String", .string(pattern))]))), ("content", .string(content))])
    }

    private var normalizer: JSONValue {
        switch kind {
        case .byteLevel(let preTokenizer): return preTokenizer.composes ? Self.component("NFC") : .null
        case .sentencePiece(let addsPrefix):
            let prefix = addsPrefix ? [Self.component("Prepend", [("prepend", .string(Self.separator))])] : []
            return Self.component(
                "Sequence", [("normalizers", .array(prefix + [Self.replacement(of: " ", by: Self.separator)]))])
        }
    }

    private var preTokenizer: JSONValue {
        guard case .byteLevel(let preTokenizer) = kind else { return .null }
        let byteLevel = Self.component(
            "ByteLevel",
            [
                ("add_prefix_space", .boolean(false)), ("trim_offsets", .boolean(true)),
                ("use_regex", .boolean(preTokenizer.endsWithGPT2Words)),
            ])
        let steps = preTokenizer.steps.map { step in
            switch step {
            case .digits: Self.component("Digits", [("individual_digits", .boolean(true))])
            case .expression(let expression):
                Self.component(
                    "Split",
                    [
                        ("pattern", .object(JSONObject([("Regex", .string(expression))]))),
                        ("behavior", .string("Isolated")), ("invert", .boolean(false)),
                    ])
            }
        }
        return Self.component("Sequence", [("pretokenizers", .array(steps + [byteLevel]))])
    }

    private var decoder: JSONValue {
        switch kind {
        case .byteLevel:
            return Self.component(
                "ByteLevel",
                [
                    ("add_prefix_space", .boolean(true)), ("trim_offsets", .boolean(true)),
                    ("use_regex", .boolean(true)),
                ])
        case .sentencePiece(let addsPrefix):
            let strip = Self.component(
                "Strip", [("content", .string(" ")), ("start", .integer(1)), ("stop", .integer(0))])
            let decoders = [
                Self.replacement(of: Self.separator, by: " "), Self.component("ByteFallback"), Self.component("Fuse"),
            ]
            return Self.component("Sequence", [("decoders", .array(decoders + (addsPrefix ? [strip] : [])))])
        }
    }

    // MARK: tokenizer_config.json

    /// `tokenizer_config.json`: the added tokens, which tokens begin and end a text, and the chat template.
    ///
    /// - Throws: `GGUFError`.
    func configuration() throws -> JSONObject {
        var object = JSONObject([("tokenizer_class", .string("PreTrainedTokenizerFast"))])
        var decoder = JSONObject()
        for id in addedTokenIDs { decoder["\(id)"] = .object(JSONObject(try flags(ofToken: id))) }
        object["added_tokens_decoder"] = .object(decoder)
        object["bos_token"] = try beginOfSequence.map { .string(try spelling($0)) } ?? .null
        object["eos_token"] = try endOfSequence.map { .string(try spelling($0)) } ?? .null
        for (name, key) in [("unk_token", "unknown"), ("pad_token", "padding")] {
            if let id = try Self.token(key, metadata, count: tokens.count) { object[name] = .string(try spelling(id)) }
        }
        object["clean_up_tokenization_spaces"] = .boolean(false)
        object["chat_template"] = try chatTemplate()
        return object
    }

    /// A template, or several by name, the one without a name as `default`; nil where there is none.
    private func chatTemplate() throws -> JSONValue? {
        let key = "tokenizer.chat_template"
        let standard = try metadata.string(key)
        let names = try metadata.strings("tokenizer.chat_templates") ?? []
        if names.isEmpty { return standard.map { .string($0) } }
        let named = try names.map { ($0, try metadata.required("\(key).\($0)", metadata.string("\(key).\($0)"))) }
        let templates =
            (standard.map { [("default", $0)] } ?? []) + named.filter { $0.0 != "default" || standard == nil }
        return .array(
            templates.map { .object(JSONObject([("name", .string($0.0)), ("template", .string($0.1))])) })
    }
}

/// JSON that is written piece by piece: a vocabulary is too large for a tree, and its spellings are bytes, of which Swift's
/// strings would take two that are canonically equivalent for one.
private struct JSONText {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    /// A string between quotes; UTF-8.
    mutating func append(quoted text: ArraySlice<UInt8>) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case 0..<0x20: append("\\u00" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
