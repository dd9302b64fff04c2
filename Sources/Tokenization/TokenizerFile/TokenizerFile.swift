import Foundation
import ModelFiles

extension BytePairTokenizer {
    /// Reads a `tokenizer.json` in the format of Hugging Face's `tokenizers`, with a BPE model.
    ///
    /// BOS and EOS are those that `tokenizer_config.json` or `special_tokens_map.json` beside it name; where neither
    /// does, the first and the last special token of the post-processor's template.
    ///
    /// `truncation` and `padding` are not looked at: they shape batches, and a language model gets whole texts.
    ///
    /// - Throws: `TokenizerError`, naming file and key.
    public init(contentsOf url: URL) throws {
        var modelReader = BytePairModelReader(file: url.path)
        let parts = try withJSONReader(of: try readTokenizerFile(at: url), file: url.path) { reader in
            var parts = JSONObject()
            var hasModel = false
            try reader.readObject { reader, key in
                let key = try reader.text(of: key)
                if key == "model", try reader.peekKind() == .object, !hasModel {
                    hasModel = true
                    try modelReader.read(&reader)
                } else {
                    parts[key] = try reader.readValue(duplicateKeys: .lastCounts)
                }
            }
            try reader.readEnd()
            guard hasModel else {
                throw TokenizerError.malformed(file: url.path, key: "model", reason: "missing")
            }
            return JSONNode(file: url.path, path: "", value: .object(parts))
        }

        let normalizer = try Normalizer(parts["normalizer"])
        let preTokenizer = try PreTokenizer(parts["pre_tokenizer"])
        let postProcessor = try PostProcessor(parts["post_processor"])
        let model = try modelReader.makeModel(unit: preTokenizer?.isByteLevel == true ? .bytes : .scalars)
        let addedTokens = try Self.addedTokens(parts["added_tokens"], model.vocabulary, normalizer)
        self.init(
            normalizer: normalizer,
            preTokenizer: preTokenizer,
            model: model,
            postProcessor: postProcessor,
            decoder: try TextDecoder(parts["decoder"]),
            addedTokens: AddedTokens(addedTokens),
            beginOfSequence: nil,
            endOfSequence: nil
        )
        for id in postProcessor.prefix + postProcessor.suffix where token(of: id) == nil {
            throw parts["post_processor"].malformed("adds token id \(id), which no token has")
        }
        let named = try NamedSpecialTokens(directory: url.deletingLastPathComponent())
        beginOfSequence = named.beginOfSequence.flatMap(id(of:)) ?? postProcessor.prefix.first
        endOfSequence = named.endOfSequence.flatMap(id(of:)) ?? postProcessor.suffix.last
    }

    /// The added tokens and how they stand in text, checked: the reference would give those with other ids than the file
    /// says silently.
    private static func addedTokens(
        _ node: JSONNode,
        _ vocabulary: Vocabulary,
        _ normalizer: Normalizer?
    ) throws -> [(token: AddedToken, spelling: [UInt8])] {
        guard !node.isNull else { return [] }
        var tokens: [(token: AddedToken, spelling: [UInt8])] = []
        var patternBytes = 0
        var contents: [[UInt8]: Int] = [:]
        var ids: [Int: String] = [:]
        for element in try node.elements() {
            let token = try AddedToken(element)
            let content = Array(token.content.utf8)
            guard !content.isEmpty else { continue }
            if let other = vocabulary.id(of: content) ?? contents[content], other != token.id {
                throw element["id"].malformed("\"\(token.content)\" has two ids, \(other) and \(token.id)")
            }
            let owner = vocabulary.spelling(of: token.id).map { String(decoding: $0, as: UTF8.self) } ?? ids[token.id]
            if let owner, !owner.utf8.elementsEqual(content) {
                throw element["id"].malformed("\"\(token.content)\" has id \(token.id), which \"\(owner)\" has too")
            }
            guard contents.updateValue(token.id, forKey: content) == nil else { continue }
            ids[token.id] = token.content
            var spelling = content
            if token.isNormalized { normalizer?.normalize(&spelling) }
            guard spelling.count <= AddedTokenMatcher.maximumPatternBytes else {
                throw element["content"].malformed(
                    "\(spelling.count) bytes long when it is normalized; an added token has at most "
                        + "\(AddedTokenMatcher.maximumPatternBytes)"
                )
            }
            patternBytes += spelling.count
            guard patternBytes <= AddedTokenMatcher.maximumTotalBytes else {
                throw node.malformed("more than \(AddedTokenMatcher.maximumTotalBytes) bytes of tokens")
            }
            tokens.append((token, spelling))
        }
        return tokens
    }
}

/// The special tokens that the files beside a tokenizer name.
struct NamedSpecialTokens {
    private(set) var beginOfSequence: String?
    private(set) var endOfSequence: String?
    /// Whether BOS and EOS are put around a text, where `tokenizer_config.json` says so.
    private(set) var addsBeginOfSequence: Bool?
    private(set) var addsEndOfSequence: Bool?

    /// Reads `tokenizer_config.json`, and for what it does not name `special_tokens_map.json`.
    init(directory: URL) throws {
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let url = directory.appending(path: name)
            guard FileManager.default.fileExists(atPath: url.path) else { continue }
            let node = try readJSONTree(at: url)
            guard case .object = node.value else { throw node.mismatch("an object") }
            beginOfSequence = try beginOfSequence ?? Self.token(node["bos_token"])
            endOfSequence = try endOfSequence ?? Self.token(node["eos_token"])
            addsBeginOfSequence = try addsBeginOfSequence ?? Self.flag(node["add_bos_token"])
            addsEndOfSequence = try addsEndOfSequence ?? Self.flag(node["add_eos_token"])
        }
    }

    /// A token by its content, or by an object that has it.
    private static func token(_ node: JSONNode) throws -> String? {
        if node.isNull { return nil }
        if case .object = node.value { return try node["content"].string() }
        return try node.string()
    }

    private static func flag(_ node: JSONNode) throws -> Bool? { node.isNull ? nil : try node.boolean() }
}
