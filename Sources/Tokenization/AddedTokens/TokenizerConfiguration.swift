import Foundation
import JSON

/// What the files beside a vocabulary say about a tokenizer: `tokenizer_config.json`, `special_tokens_map.json` and
/// `added_tokens.json`, read as transformers 5 reads them, whichever file holds the vocabulary.
///
/// Where `tokenizer_config.json` has an `added_tokens_decoder`, it alone counts. Where it has none, `added_tokens.json` adds
/// tokens, and what `special_tokens_map.json` names counts before what `tokenizer_config.json` names.
struct TokenizerConfiguration {
    /// The keys that name one token each, in the order in which tokens that have no id get one.
    private static let keys = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    /// `tokenizer_config.json`; a missing node where there is none.
    let root: JSONNode
    let beginOfSequence: String?
    let endOfSequence: String?
    /// Whether BOS and EOS are put around a text, where `tokenizer_config.json` says so.
    private let addsBeginOfSequence: Bool?
    private let addsEndOfSequence: Bool?
    /// Where the special tokens are named: strings, or objects with `content`.
    private let names: [JSONNode]
    /// The tokens that are given ids, in the order of these.
    private let added: [AddedTokenEntry]
    /// The files that name tokens, those first that count first.
    private let sources: [JSONNode]

    init(directory: URL) throws {
        root = try JSONNode(tokenizerFile: directory.appending(path: "tokenizer_config.json"))
        let map = try JSONNode(tokenizerFile: directory.appending(path: "special_tokens_map.json"))
        let decoder = root["added_tokens_decoder"]
        let sources = decoder.isNull ? [map, root] : [root]
        self.sources = sources
        func content(_ key: String) throws -> String? {
            try sources.lazy.compactMap { $0[key].nonNull }.first?.tokenContent()
        }
        beginOfSequence = try content("bos_token")
        endOfSequence = try content("eos_token")
        addsBeginOfSequence = try root["add_bos_token"].nonNull?.boolean()
        addsEndOfSequence = try root["add_eos_token"].nonNull?.boolean()
        let named = try Self.named(in: sources)
        let extra = try sources.reversed().flatMap(Self.extra)
        names = named + extra
        let specialNames = decoder.isNull ? names : named
        let special = Set(try specialNames.compactMap { try $0.tokenContent() }.map { Bytes($0.utf8) })
        added =
            try decoder.isNull
            ? Self.entries(
                of: JSONNode(tokenizerFile: directory.appending(path: "added_tokens.json")), special: special)
            : Self.entries(ofDecoder: decoder, special: special)
    }

    /// The tokens that have a key, by these keys, as templates see them: each where it is named first.
    var namedTokens: [(name: String, content: String)] {
        get throws {
            var tokens: [(name: String, content: String)] = []
            for source in sources where !source.isNull {
                for (key, node) in try source.members() where key.hasSuffix("_token") {
                    let isToken = if case .string = node.value { true } else { Self.keys.contains(key) }
                    guard isToken, !tokens.contains(where: { $0.name == key }), let content = try node.tokenContent()
                    else { continue }
                    tokens.append((key, content))
                }
            }
            return tokens
        }
    }

    private typealias Bytes = [UInt8]

    /// The tokens that have a key: those that transformers knows, others that end in `_token`, and the members of an object
    /// of extra tokens.
    private static func named(in sources: [JSONNode]) throws -> [JSONNode] {
        var names = keys.compactMap { key in sources.lazy.compactMap { $0[key].nonNull }.first }
        for source in sources.reversed() where !source.isNull {
            names += try source.members().filter { key, node in
                guard key.hasSuffix("_token"), !keys.contains(key), case .string = node.value else { return false }
                return true
            }.map(\.node)
            if case .object = source["extra_special_tokens"].value {
                names += try source["extra_special_tokens"].members().map(\.node)
            }
        }
        return names
    }

    /// The tokens of a file that are special without a key of their own.
    private static func extra(in source: JSONNode) throws -> [JSONNode] {
        for list in ["extra_special_tokens", "additional_special_tokens"].map({ source[$0] }) {
            if case .array(let elements) = list.value, !elements.isEmpty { return try list.elements() }
        }
        return []
    }

    /// The tokens of `added_tokens_decoder`: ids, and objects with `content` and flags.
    private static func entries(ofDecoder decoder: JSONNode, special: Set<[UInt8]>) throws -> [AddedTokenEntry] {
        try decoder.members().map { key, node in
            guard let id = Int(key) else { throw node.malformed("expected an id for its key") }
            let isNamed = special.contains(Bytes((try node.tokenContent() ?? "").utf8))
            let isSpecial = try node["special"].boolean(default: false)
            let token = try AddedToken(node, id: id, isSpecial: isSpecial || isNamed)
            return try AddedTokenEntry(token, id: node, content: node)
        }.sorted { $0.token.id < $1.token.id }
    }

    /// The tokens of `added_tokens.json`: contents and ids.
    private static func entries(of file: JSONNode, special: Set<[UInt8]>) throws -> [AddedTokenEntry] {
        if file.isNull { return [] }
        return try file.members().map { content, node in
            let text = JSONNode(.string(content), file: node.file, path: node.path)
            let token = try AddedToken(text, id: try node.integer(), isSpecial: special.contains(Bytes(content.utf8)))
            return try AddedTokenEntry(token, id: node, content: node)
        }.sorted { $0.token.id < $1.token.id }
    }

    /// `known`, the added tokens of the file that holds the vocabulary, and those that the files beside it add.
    ///
    /// What the vocabulary's file knows keeps the id that it has there, and gets the flags that `added_tokens_decoder` gives
    /// it. A token that is named, but that no file gives an id, gets the next one behind all others.
    func addedTokens(known: [AddedTokenEntry] = [], beside vocabulary: Vocabulary) throws -> [AddedTokenEntry] {
        var entries = known
        var indices = Dictionary(known.enumerated().map { (Bytes($1.token.content.utf8), $0) }) { first, _ in first }
        for var entry in added {
            let content = Bytes(entry.token.content.utf8)
            if let index = indices[content], index < known.count {
                entry.token.id = known[index].token.id
                entry.token.isSpecial = entry.token.isSpecial || known[index].token.isSpecial
                entries[index].token = entry.token
            } else {
                entry.token.id = vocabulary.id(of: content) ?? entry.token.id
                indices[content] = entries.count
                entries.append(entry)
            }
        }
        let addedCount = entries.count
        var nextID = max(vocabulary.upperBound, entries.map { $0.token.id + 1 }.max() ?? 0)
        for place in names {
            guard let content = try place.tokenContent(), !content.isEmpty else { continue }
            let index = indices[Bytes(content.utf8)]
            if let index, index < addedCount { continue }
            let id = index.map { entries[$0].token.id } ?? vocabulary.id(of: content.utf8) ?? nextID
            let token = try AddedToken(place, id: id, isSpecial: true)
            if let index {
                entries[index].token = token
            } else {
                nextID = max(nextID, id + 1)
                indices[Bytes(content.utf8)] = entries.count
                entries.append(try AddedTokenEntry(token, id: place, content: place))
            }
        }
        return entries
    }

    /// Those of `tokens` whose ids and contents no file gives to others.
    func unnamed(of tokens: [AddedTokenEntry]) -> [AddedTokenEntry] {
        let ids = Set(added.map(\.token.id))
        let contents = Set(added.map { Bytes($0.token.content.utf8) })
        return tokens.filter { !ids.contains($0.token.id) && !contents.contains(Bytes($0.token.content.utf8)) }
    }

    /// `processor`, or what `add_bos_token` and `add_eos_token` make of it: each that is given decides its end of a text.
    /// A token that is to be added, but that there is none of, is left out, as transformers does.
    func applied(to processor: PostProcessor, beginOfSequence: Int?, endOfSequence: Int?) -> PostProcessor {
        func tokens(_ isAdded: Bool?, _ id: Int?, standard: [Int]) -> [Int] {
            guard let isAdded else { return standard }
            return isAdded ? [id].compactMap { $0 } : []
        }
        return PostProcessor(
            prefix: tokens(addsBeginOfSequence, beginOfSequence, standard: processor.prefix),
            suffix: tokens(addsEndOfSequence, endOfSequence, standard: processor.suffix))
    }
}

extension AddedToken {
    /// Reads a token that a file describes by a string or by an object with `content` and flags.
    ///
    /// - Throws: `JSONNodeError` where the content is too long, or a flag is no boolean.
    init(_ node: JSONNode, id: Int, isSpecial: Bool) throws {
        let content = try node.tokenContent() ?? node.string()
        guard content.utf8.count <= AddedTokenMatcher.maximumPatternBytes else {
            let place = if case .object = node.value { node["content"] } else { node }
            throw place.malformed(
                "\(content.utf8.count) bytes long; an added token has at most \(AddedTokenMatcher.maximumPatternBytes)"
            )
        }
        self.init(
            id: id,
            content: content,
            isSingleWord: try node["single_word"].boolean(default: false),
            stripsLeft: try node["lstrip"].boolean(default: false),
            stripsRight: try node["rstrip"].boolean(default: false),
            isNormalized: try node["normalized"].boolean(default: !isSpecial),
            isSpecial: isSpecial
        )
    }
}

/// An added token, and where a file says so.
struct AddedTokenEntry {
    var token: AddedToken
    let idPlace: JSONNode
    let contentPlace: JSONNode

    init(_ token: AddedToken, id idPlace: JSONNode, content contentPlace: JSONNode) throws {
        guard 0...Vocabulary.maximumID ~= token.id else {
            throw idPlace.malformed("\(token.id) is out of range; ids are 0 to \(Vocabulary.maximumID)")
        }
        self.token = token
        self.idPlace = idPlace
        self.contentPlace = contentPlace
    }

    /// Reads `added_tokens` of `tokenizer.json`.
    static func entries(_ node: JSONNode) throws -> [AddedTokenEntry] {
        if node.isNull { return [] }
        return try node.elements().map { element in
            let content = element["content"]
            _ = try content.string()
            let isSpecial = try element["special"].boolean(default: false)
            let token = try AddedToken(element, id: try element["id"].integer(), isSpecial: isSpecial)
            return try AddedTokenEntry(token, id: element["id"], content: content)
        }
    }
}

extension AddedTokens {
    /// Checks the tokens against a vocabulary: transformers silently gives those that contradict it other ids than the files
    /// say.
    ///
    /// - Throws: `JSONNodeError` where ids and contents contradict each other or the vocabulary, or are too long.
    init(checking entries: [AddedTokenEntry], _ vocabulary: Vocabulary, _ normalizer: Normalizer?) throws {
        var tokens: [(token: AddedToken, spelling: [UInt8])] = []
        var patternBytes = 0
        var contents: [[UInt8]: Int] = [:]
        var ids: [Int: String] = [:]
        for entry in entries {
            let token = entry.token
            let content = Array(token.content.utf8)
            guard !content.isEmpty else { continue }
            if let other = vocabulary.id(of: content) ?? contents[content], other != token.id {
                throw entry.idPlace.malformed("\"\(token.content)\" has two ids, \(other) and \(token.id)")
            }
            let owner = vocabulary.spelling(of: token.id).map { String(decoding: $0, as: UTF8.self) } ?? ids[token.id]
            if let owner, !owner.utf8.elementsEqual(content) {
                throw entry.idPlace.malformed("\"\(token.content)\" has id \(token.id), which \"\(owner)\" has too")
            }
            guard contents.updateValue(token.id, forKey: content) == nil else { continue }
            ids[token.id] = token.content
            var spelling = content
            if token.isNormalized { try normalizer?.normalize(&spelling, startsText: true) }
            guard spelling.count <= AddedTokenMatcher.maximumPatternBytes else {
                throw entry.contentPlace.malformed(
                    "\(spelling.count) bytes long when it is normalized; an added token has at most "
                        + "\(AddedTokenMatcher.maximumPatternBytes)"
                )
            }
            patternBytes += spelling.count
            guard patternBytes <= AddedTokenMatcher.maximumTotalBytes else {
                throw entry.contentPlace.malformed(
                    "with it there are more than \(AddedTokenMatcher.maximumTotalBytes) bytes of added tokens")
            }
            tokens.append((token, spelling))
        }
        self.init(tokens)
    }
}
