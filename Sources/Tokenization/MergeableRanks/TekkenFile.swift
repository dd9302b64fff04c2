import Foundation
import JSON

/// Mistral's `tekken.json`: ranks with the expression that cuts texts, and special tokens, which have the first ids.
///
/// As `mistral-common` 1.13.1 reads it (`tokens/tokenizers/tekken.py`): of `vocab` as many tokens count as
/// `default_vocab_size` leaves behind the special ones, and special tokens without a name are called `<SPECIAL_20>`. How a
/// conversation is written is not in the file; `version` decides that, which is a matter of chat templates here.
struct TekkenFile {
    static let beginOfSequence = "<s>"
    static let endOfSequence = "</s>"

    /// The special tokens of the versions up to 7 that list none.
    private static let earlySpecialTokens = [
        "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
        "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]",
    ]
    private static let earlyVersions = ["v1", "v2", "v3", "v7"]

    /// More are refused: those in use have 1,000.
    private static let maximumSpecialTokens = 1 << 16

    /// `tekken.json` has 15 to 20 MB.
    private static let maximumBytes = 64 << 20

    private let file: String
    private let ranks: MergeableRanks
    private let hasVocabulary: Bool
    /// Everything but the vocabulary.
    private let root: JSONNode

    init(contentsOf url: URL) throws {
        file = url.path
        var vocabulary = TekkenVocabularyReader(file: url.path)
        var hasVocabulary = false
        var parts = JSONObject()
        try withJSONReader(of: try readSmallFile(url, limit: Self.maximumBytes), file: url.path) { reader in
            try reader.readObject { reader, key in
                let key = try reader.text(of: key)
                if key == "vocab", try reader.peekKind() == .array, !hasVocabulary {
                    hasVocabulary = true
                    try reader.readArray { try vocabulary.readToken(&$0) }
                } else {
                    parts[key] = try reader.readValue(duplicateKeys: .lastCounts)
                }
            }
            try reader.readEnd()
        }
        ranks = vocabulary.ranks
        self.hasVocabulary = hasVocabulary
        root = JSONNode(.object(parts), file: url.path)
    }

    /// The number of special tokens, and that of the others.
    private func sizes() throws -> (special: Int, ranks: Int) {
        guard hasVocabulary else { throw root["vocab"].mismatch("an array of tokens") }
        let node = root["config"]["default_num_special_tokens"]
        let special = try node.integer()
        guard 0...Self.maximumSpecialTokens ~= special else {
            throw node.malformed("\(special); expected 0 to \(Self.maximumSpecialTokens)")
        }
        let sizeNode = root["config"]["default_vocab_size"]
        let size = try sizeNode.integer()
        guard special...special + ranks.count ~= size else {
            throw sizeNode.malformed(
                "\(size); expected \(special) to \(special + ranks.count), as there are \(special) special tokens and "
                    + "\(ranks.count) others")
        }
        return (special, size - special)
    }

    /// The special tokens, whose ids are their places.
    private func specialTokens(count: Int) throws -> [AddedTokenEntry] {
        let list = root["special_tokens"]
        var entries: [AddedTokenEntry] = []
        func append(_ content: String, rank: JSONNode, content place: JSONNode) throws {
            let token = try AddedToken(
                JSONNode(.string(content), file: file, path: place.path), id: entries.count, isSpecial: true)
            entries.append(try AddedTokenEntry(token, id: rank, content: place))
        }
        if list.isNull {
            let version = root["config"]["version"]
            let name = try version.string()
            guard Self.earlyVersions.contains(name) else {
                throw list.malformed(
                    "missing; only tokenizers of version \(Self.earlyVersions.joined(separator: ", ")) do without, "
                        + "and this one's is \"\(name)\"")
            }
            for content in Self.earlySpecialTokens { try append(content, rank: list, content: list) }
        } else {
            for element in try list.elements() {
                let rank = try element["rank"].integer()
                guard rank == entries.count else {
                    throw element["rank"].malformed("\(rank); expected \(entries.count): ranks rise by one from 0")
                }
                try append(
                    try element["token_str"].string(), rank: element["rank"], content: element["token_str"])
            }
        }
        guard entries.count <= count else {
            let node = root["config"]["default_num_special_tokens"]
            throw node.malformed("\(count), but \(entries.count) special tokens have names")
        }
        for id in entries.count..<count { try append("<SPECIAL_\(id)>", rank: list, content: list) }
        return entries
    }

    /// The tokenizer, with what the files of its directory say.
    ///
    /// - Throws: `TokenizerError`, `JSONNodeError`.
    func makeTokenizer(configuration: TokenizerConfiguration) throws -> BytePairTokenizer {
        let sizes = try sizes()
        let known = try specialTokens(count: sizes.special)
        let expression = root["config"]["pattern"]
        let words = try SearchPattern(expression: try expression.string(), at: expression)
        var ranks = ranks
        ranks.truncate(to: sizes.ranks)
        return try BytePairTokenizer(
            try ranks.makeModel(firstID: sizes.special), known: known, configuration: configuration, words: words,
            beginOfSequence: Self.beginOfSequence, endOfSequence: Self.endOfSequence)
    }
}

/// Reads the elements of `vocab`, 150,000 of them, without a tree of JSON.
private struct TekkenVocabularyReader {
    private let file: String
    private(set) var ranks: MergeableRanks
    /// `token_bytes` of the token that is being read.
    private var base64: [UInt8] = []
    /// A string that is passed over.
    private var ignored: [UInt8] = []

    init(file: String) {
        self.file = file
        ranks = MergeableRanks(file: file) { "vocab[\($0)]" }
    }

    /// Reads `{"rank": 17, "token_bytes": "…", "token_str": "…"}`, of which the last may be null and says nothing new.
    mutating func readToken(_ reader: inout JSONReader) throws {
        try expect(.object, "", &reader)
        var rank: Int?
        var hasBytes = false
        base64.removeAll(keepingCapacity: true)
        try reader.readObject { reader, key in
            if key.elementsEqual("rank".utf8) {
                try expect(.number, ".rank", &reader)
                rank = try reader.readInteger()
            } else if key.elementsEqual("token_bytes".utf8) {
                try expect(.string, ".token_bytes", &reader)
                base64.removeAll(keepingCapacity: true)
                try reader.readString(into: &base64)
                hasBytes = true
            } else if try reader.peekKind() == .string {
                ignored.removeAll(keepingCapacity: true)
                try reader.readString(into: &ignored)
            } else {
                _ = try reader.readValue(duplicateKeys: .lastCounts)
            }
        }
        guard let rank else { throw malformed(".rank", "missing") }
        guard hasBytes else { throw malformed(".token_bytes", "missing") }
        try base64.withUnsafeBufferPointer { try ranks.append(base64: $0, rank: rank) }
    }

    private func expect(_ kind: JSONReader.Kind, _ key: String, _ reader: inout JSONReader) throws {
        let found = try reader.peekKind()
        guard found == kind else { throw malformed(key, "expected \(kind.rawValue), found \(found.rawValue)") }
    }

    private func malformed(_ key: String, _ reason: String) -> TokenizerError {
        .malformed(file: file, key: "vocab[\(ranks.count)]\(key)", reason: reason)
    }
}

extension BytePairTokenizer {
    /// Reads a `tekken.json`, in which the tokenizers of Mistral's later models come.
    ///
    /// With `addSpecialTokens` it puts `<s>` in front of a text, unless `tokenizer_config.json` beside it says otherwise: what
    /// `tokenizer.json` of the same models does. Special tokens are found in texts, also as there; `mistral-common` finds none.
    ///
    /// - Throws: `TokenizerError`, naming file and key, and `FileError` where a file cannot be read.
    public init(tekkenFile url: URL) throws {
        self = try withTokenizerErrors {
            let configuration = try TokenizerConfiguration(directory: url.deletingLastPathComponent())
            return try TekkenFile(contentsOf: url).makeTokenizer(configuration: configuration)
        }
    }
}
