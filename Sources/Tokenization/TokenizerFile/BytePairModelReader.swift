import JSON
import ModelDescription
import TensorFiles

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
        let node = JSONNode(file: file, path: "model", value: .object(settings))
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
        var unknown: Int?
        if !node["unk_token"].isNull {
            let token = try node["unk_token"].string()
            unknown = vocabulary.id(of: token.utf8)
            guard unknown != nil else { throw node["unk_token"].malformed("\"\(token)\" is not in the vocabulary") }
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
