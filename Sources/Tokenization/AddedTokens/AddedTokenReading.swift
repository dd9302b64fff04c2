import ModelDescription
import TensorFiles

extension AddedToken {
    /// Reads a token that a file describes by a string or by an object with `content` and flags.
    ///
    /// - Throws: `TokenizerError` where the content is too long, or a flag is no boolean.
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
    /// Adds the tokens to a vocabulary, checked: the reference would give those with other ids than the file says silently.
    ///
    /// - Throws: `TokenizerError` where ids and contents contradict each other or the vocabulary, or are too long.
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
            if token.isNormalized { try normalizer?.normalize(&spelling) }
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
