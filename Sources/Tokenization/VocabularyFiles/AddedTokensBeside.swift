import Foundation
import ModelDescription
import TensorFiles

extension AddedTokenEntry {
    /// The tokens that the files beside `vocab.json` add to it, and those of its own that they name as special ones.
    static func entries(
        _ named: NamedSpecialTokens,
        beside vocabulary: Vocabulary,
        in directory: URL,
        standardToken: String
    ) throws -> [AddedTokenEntry] {
        var entries = try addedEntries(named, in: directory)
        var indices = Dictionary(entries.enumerated().map { (Array($1.token.content.utf8), $0) }) { first, _ in first }
        func add(_ token: AddedToken, at place: JSONNode) throws {
            indices[Array(token.content.utf8)] = entries.count
            entries.append(try AddedTokenEntry(token, id: place, content: place))
        }
        for place in named.places {
            guard let content = try place.tokenContent(), indices[Array(content.utf8)] == nil else { continue }
            guard let id = vocabulary.id(of: content.utf8) else {
                throw place.malformed("\"\(content.prefix(64))\" is neither in vocab.json nor in added_tokens.json")
            }
            try add(try AddedToken(place, id: id, isSpecial: true), at: place)
        }
        if indices[Array(standardToken.utf8)] == nil, let id = vocabulary.id(of: standardToken.utf8) {
            try add(AddedToken(id: id, content: standardToken), at: named.configuration)
        }
        return entries
    }

    /// The tokens that `added_tokens_decoder` of `tokenizer_config.json` or else `added_tokens.json` gives ids.
    private static func addedEntries(_ named: NamedSpecialTokens, in directory: URL) throws -> [AddedTokenEntry] {
        let names = Set(try named.places.compactMap { try $0.tokenContent().map { Array($0.utf8) } })
        let decoder = named.configuration["added_tokens_decoder"]
        if !decoder.isNull {
            return try decoder.members().map { key, node in
                guard let id = Int(key) else { throw node.malformed("expected an id for its key") }
                let isNamed = names.contains(Array((try node.tokenContent() ?? "").utf8))
                let isSpecial = try node["special"].boolean(default: false)
                let token = try AddedToken(node, id: id, isSpecial: isSpecial || isNamed)
                return try AddedTokenEntry(token, id: node, content: node)
            }
        }
        let url = directory.appending(path: "added_tokens.json")
        guard FileManager.default.fileExists(atPath: url.path) else { return [] }
        return try readJSONTree(at: url).members().map { content, node in
            let isSpecial = names.contains(Array(content.utf8))
            let text = JSONNode(file: node.file, path: node.path, value: .string(content))
            let token = try AddedToken(text, id: try node.integer(), isSpecial: isSpecial)
            return try AddedTokenEntry(token, id: node, content: node)
        }
    }
}
