import Foundation
import JSON

@testable import Tokenization

/// What `scripts/reference/mergeable_ranks.py` made with tiktoken 0.14.0 and mistral-common 1.13.1.
struct MergeableRanksReference: Decodable, Sendable {
    struct Case: Decodable, Sendable {
        let text: String
        let ids: [Int]
    }

    struct Tiktoken: Decodable, Sendable {
        let specialTokens: [String]
        let cases: [Case]
        let decoded: [Case]
    }

    struct Tekken: Decodable, Sendable {
        /// `tekken.json` without its vocabulary.
        let file: String
        let size: Int
        let begin: Int
        let end: Int
        let specialTokens: [String]
        let cases: [Case]
        let decoded: [Case]
    }

    /// The tokens' bytes in base 64, by rank.
    let tokens: [String]
    let tiktoken: Tiktoken
    let tekken: [Tekken]

    static let shared: MergeableRanksReference = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(
            path: "Reference/mergeable_ranks.json")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do {
            return try decoder.decode(MergeableRanksReference.self, from: Data(contentsOf: file))
        } catch {
            fatalError("\(file.path): \(error)")
        }
    }()

    /// A family of tiktoken's whose vocabulary is this one.
    static let family = TiktokenFamily(
        tokenCount: shared.tokens.count, expression: WordScanner.llama3Pattern(digits: "{1,3}"),
        specialTokens: shared.tiktoken.specialTokens, beginOfSequence: "<|begin_of_text|>",
        endOfSequence: "<|end_of_text|>")
}

/// A `tokenizer.model` in tiktoken's form, of which a test changes what it is about.
struct TiktokenLines {
    var lines = MergeableRanksReference.shared.tokens.enumerated().map { "\($1) \($0)" }

    func tokenizer(
        _ others: [String: String] = [:], family: TiktokenFamily = MergeableRanksReference.family
    ) throws -> BytePairTokenizer {
        let data = Data((lines.joined(separator: "\n") + "\n").utf8)
        return try withDirectory(others.mapValues { Data($0.utf8) }) { directory in
            let url = directory.appending(path: "tokenizer.model")
            guard let file = TiktokenFile(data, file: url.path) else {
                throw TokenizerError.notFound(directory: directory.path)
            }
            return try withTokenizerErrors { try BytePairTokenizer(file, at: url, family: family) }
        }
    }
}

/// A `tekken.json`, of which a test changes what it is about.
struct TekkenObject {
    var members: JSONObject
    var vocabulary = MergeableRanksReference.shared.tokens.enumerated().map { rank, token in
        JSONObject([("rank", .integer(rank)), ("token_bytes", .string(token)), ("token_str", .null)])
    }

    init(_ reference: MergeableRanksReference.Tekken = MergeableRanksReference.shared.tekken[0]) throws {
        guard case .object(let members) = try JSONValue.parse(Data(reference.file.utf8)) else {
            throw CocoaError(.fileReadCorruptFile)
        }
        self.members = members
    }

    /// A member of `config`.
    subscript(config key: String) -> JSONValue? {
        get { if case .object(let config)? = members["config"] { config[key] } else { nil } }
        set {
            guard case .object(var config)? = members["config"] else { return }
            config[key] = newValue
            members["config"] = .object(config)
        }
    }

    var data: Data {
        var members = members
        members["vocab"] = members["vocab"] ?? .array(vocabulary.map { .object($0) })
        return Data(JSONValue.object(members).serialized().utf8)
    }

    func tokenizer(_ others: [String: String] = [:]) throws -> any Tokenizer {
        let files = others.mapValues { Data($0.utf8) }.merging(["tekken.json": data]) { $1 }
        return try withDirectory(files) { try loadTokenizer(from: $0) }
    }
}
