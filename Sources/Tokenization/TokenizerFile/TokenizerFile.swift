import Foundation
import JSON
import ModelFiles

extension BytePairTokenizer {
    /// Reads a `tokenizer.json` in the format of Hugging Face's `tokenizers`, with a BPE model.
    ///
    /// Tokens that the files beside it add or name are part of the tokenizer too. BOS and EOS are those that they name;
    /// where they name none, the first and the last special token of the post-processor's template. What is put around a
    /// text, the template alone decides: `add_bos_token` counts only where there is no `tokenizer.json`, as in
    /// transformers 5.
    ///
    /// `truncation` and `padding` are not looked at: they shape batches, and a language model gets whole texts.
    ///
    /// - Throws: `TokenizerError`, naming file and key, and `FileError` where a file cannot be read.
    public init(contentsOf url: URL) throws {
        self = try withTokenizerErrors { try BytePairTokenizer(tokenizerFile: url) }
    }

    private init(tokenizerFile url: URL) throws {
        var modelReader = BytePairModelReader(file: url.path)
        let parts = try withJSONReader(
            of: try ModelFile.contents(of: url, limit: maximumTokenizerFileBytes), file: url.path
        ) { reader in
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
            return JSONNode(.object(parts), file: url.path)
        }

        let normalizer = try Normalizer(parts["normalizer"])
        let preTokenizer = try PreTokenizer(parts["pre_tokenizer"])
        let postProcessor = try PostProcessor(parts["post_processor"])
        let model = try modelReader.makeModel(unit: preTokenizer?.isByteLevel == true ? .bytes : .scalars)
        let configuration = try TokenizerConfiguration(directory: url.deletingLastPathComponent())
        let entries = try configuration.addedTokens(
            known: try AddedTokenEntry.entries(parts["added_tokens"]), beside: model.vocabulary)
        let addedTokens = try AddedTokens(checking: entries, model.vocabulary, normalizer)
        for id in postProcessor.prefix + postProcessor.suffix
        where addedTokens[id] == nil && model.vocabulary.spelling(of: id) == nil {
            throw parts["post_processor"].malformed("adds token id \(id), which no token has")
        }
        func id(of token: String) -> Int? { addedTokens.id(of: token) ?? model.vocabulary.id(of: token.utf8) }
        self.init(
            normalizer: normalizer,
            preTokenizer: preTokenizer,
            model: model,
            postProcessor: postProcessor,
            decoder: try TextDecoder(parts["decoder"]),
            addedTokens: addedTokens,
            beginOfSequence: configuration.beginOfSequence.flatMap(id(of:)) ?? postProcessor.prefix.first,
            endOfSequence: configuration.endOfSequence.flatMap(id(of:)) ?? postProcessor.suffix.last
        )
    }
}

/// Reads the `model` of `tokenizer.json`: the vocabulary and the merges straight into their tables.
struct BytePairModelReader {
    private let file: String
    private var vocabulary = Vocabulary()
    /// They may stand before the vocabulary.
    private var merges: MergeList
    private var hasVocabulary = false
    private var hasMerges = false
    /// Everything else.
    private var settings = JSONObject()

    init(file: String) {
        self.file = file
        merges = MergeList(file: file) { "model.merges[\($0)]" }
    }

    /// Reads the object that stands at `model`.
    mutating func read(_ reader: inout JSONReader) throws {
        try reader.readObject { reader, key in
            let kind = try reader.peekKind()
            switch (try reader.text(of: key), kind) {
            case ("vocab", .object):
                hasVocabulary = true
                try vocabulary.read(&reader, file: file, key: "model.vocab")
            case ("merges", .array): try readMerges(&reader)
            case (let key, _): settings[key] = try reader.readValue(duplicateKeys: .lastCounts)
            }
        }
    }

    /// The model, whose words are spelled in `unit`.
    func makeModel(unit: BytePairModel.Unit) throws -> BytePairModel {
        let node = JSONNode(.object(settings), file: file, path: "model")
        let type = node["type"].isNull && hasMerges ? "BPE" : try node["type"].string()
        guard type == "BPE" else { throw node["type"].unsupported("model \(type)", supported: "BPE") }
        guard hasVocabulary else { throw node["vocab"].mismatch("an object of tokens and ids") }
        guard hasMerges else { throw node["merges"].mismatch("an array of merges") }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] where !node[key].isNull {
            let affix = try node[key].string()
            guard affix.isEmpty else { throw node[key].unsupported("\"\(affix)\"", supported: "null or \"\"") }
        }
        switch node["dropout"].value {
        case .integer(let dropout) where dropout != 0:
            throw node["dropout"].unsupported("dropout \(dropout)", supported: "null or 0")
        case .number(let dropout) where dropout != 0:
            throw node["dropout"].unsupported("dropout \(dropout)", supported: "null or 0")
        default: break
        }
        // An unknown token that there is not does no harm until a text needs it.
        let unknown: BytePairModel.UnknownToken? = try node["unk_token"].nonNull.map { node in
            let token = try node.string()
            let missing = TokenizerError(node.malformed("\"\(token)\" is needed, but is not in the vocabulary"))
            return vocabulary.id(of: token.utf8).map { .id($0) } ?? .missing(missing)
        }
        return BytePairModel(
            vocabulary: vocabulary,
            merges: try merges.table(of: vocabulary),
            unit: unit,
            unknown: unknown,
            fusesUnknown: try node["fuse_unk"].boolean(default: false),
            byteFallback: try node["byte_fallback"].boolean(default: false),
            ignoresMerges: try node["ignore_merges"].boolean(default: false)
        )
    }

    private mutating func readMerges(_ reader: inout JSONReader) throws {
        hasMerges = true
        try reader.readArray { reader in
            switch try reader.peekKind() {
            case .string: try merges.appendSpaced { try reader.readString(into: &$0) }
            case .array: try readPairedMerge(&reader)
            case let kind: throw merges.malformed(merges.count, "expected two tokens, found \(kind.rawValue)")
            }
        }
    }

    /// ["left", "right"]
    private mutating func readPairedMerge(_ reader: inout JSONReader) throws {
        let index = merges.count
        var count = 0
        try reader.readArray { reader in
            guard count < 2 else { throw merges.malformed(index, "expected two tokens, found more") }
            count += 1
            try merges.appendToken { try reader.readString(into: &$0) }
        }
        guard count == 2 else { throw merges.malformed(index, "expected two tokens, found \(count)") }
    }
}
