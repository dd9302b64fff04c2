import ModelFiles

/// Reads the `model` of `tokenizer.json`: the vocabulary and the merges straight into their tables.
struct BytePairModelReader {
    private let file: String
    private var vocabulary = Vocabulary()
    /// The merges as the file spells them, one spelling after the other. They may stand before the vocabulary.
    private var mergeSpellings: [UInt8] = []
    /// Where each spelling in `mergeSpellings` ends: two for each merge.
    private var mergeEnds: [Int] = []
    private var hasVocabulary = false
    private var hasMerges = false
    /// Everything else.
    private var settings = JSONObject()

    init(file: String) { self.file = file }

    /// Reads the object that stands at `model`.
    mutating func read(_ reader: inout JSONReader) throws {
        try reader.readObject { reader, key in
            let kind = try reader.peekKind()
            switch (try reader.text(of: key), kind) {
            case ("vocab", .object): try readVocabulary(&reader)
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
            merges: try makeMergeTable(),
            unit: unit,
            unknown: unknown,
            fusesUnknown: try node["fuse_unk"].boolean(default: false),
            byteFallback: try node["byte_fallback"].boolean(default: false),
            ignoresMerges: try node["ignore_merges"].boolean(default: false)
        )
    }

    // MARK: Vocabulary

    private mutating func readVocabulary(_ reader: inout JSONReader) throws {
        hasVocabulary = true
        try reader.readObject { reader, token in
            let kind = try reader.peekKind()
            guard kind == .number else { throw malformedVocabulary(token, "expected an id, found \(kind.rawValue)") }
            let id = try reader.readInteger()
            do throws(Vocabulary.Refusal) {
                try vocabulary.insert(token, id: id)
            } catch {
                switch error {
                case .idOutOfRange:
                    throw malformedVocabulary(token, "id \(id) is out of range; ids are 0 to \(Vocabulary.maximumID)")
                case .spellingTaken(let other):
                    throw malformedVocabulary(token, "has two ids, \(other) and \(id)")
                case .idTaken:
                    let other = vocabulary.spelling(of: id).map { String(decoding: $0, as: UTF8.self) } ?? ""
                    throw malformedVocabulary(token, "has id \(id), which is that of \"\(other.prefix(64))\" too")
                }
            }
        }
    }

    private func malformedVocabulary(_ token: [UInt8], _ reason: String) -> TokenizerError {
        let spelling = String(decoding: token, as: UTF8.self).prefix(64)
        return .malformed(file: file, key: "model.vocab", reason: "token \"\(spelling)\": \(reason)")
    }

    // MARK: Merges

    private mutating func readMerges(_ reader: inout JSONReader) throws {
        hasMerges = true
        try reader.readArray { reader in
            switch try reader.peekKind() {
            case .string: try readSpacedMerge(&reader)
            case .array: try readPairedMerge(&reader)
            case let kind: throw malformedMerge("expected two tokens, found \(kind.rawValue)")
            }
        }
    }

    /// "left right"
    private mutating func readSpacedMerge(_ reader: inout JSONReader) throws {
        let start = mergeSpellings.count
        try reader.readString(into: &mergeSpellings)
        let space = UInt8(ascii: " ")
        guard let middle = mergeSpellings[start...].firstIndex(of: space),
            !mergeSpellings[(middle + 1)...].contains(space)
        else { throw malformedMerge("expected two tokens with one space between them") }
        mergeSpellings.remove(at: middle)
        mergeEnds += [middle, mergeSpellings.count]
    }

    /// ["left", "right"]
    private mutating func readPairedMerge(_ reader: inout JSONReader) throws {
        let index = mergeEnds.count / 2
        var count = 0
        try reader.readArray { reader in
            guard count < 2 else { throw malformedMerge(index, "expected two tokens, found more") }
            count += 1
            try reader.readString(into: &mergeSpellings)
            mergeEnds.append(mergeSpellings.count)
        }
        guard count == 2 else { throw malformedMerge(index, "expected two tokens, found \(count)") }
    }

    private func malformedMerge(_ reason: String) -> TokenizerError { malformedMerge(mergeEnds.count / 2, reason) }

    private func malformedMerge(_ index: Int, _ reason: String) -> TokenizerError {
        .malformed(file: file, key: "model.merges[\(index)]", reason: reason)
    }

    private func makeMergeTable() throws -> MergeTable {
        var merges = MergeTable()
        try mergeSpellings.withUnsafeBufferPointer { spellings in
            var start = 0
            for index in 0..<mergeEnds.count / 2 {
                let middle = mergeEnds[2 * index]
                let end = mergeEnds[2 * index + 1]
                func id(_ range: Range<Int>) throws -> Int {
                    let spelling = UnsafeBufferPointer(rebasing: spellings[range])
                    guard let id = vocabulary.id(of: spelling) else {
                        let token = String(decoding: spelling, as: UTF8.self).prefix(64)
                        throw malformedMerge(index, "token \"\(token)\" is not in the vocabulary")
                    }
                    return id
                }
                let left = try id(start..<middle)
                let right = try id(middle..<end)
                merges.insert(left: left, right: right, rank: UInt32(index), product: try id(start..<end))
                start = end
            }
        }
        return merges
    }
}
