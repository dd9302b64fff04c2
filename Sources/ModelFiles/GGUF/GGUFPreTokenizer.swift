import Foundation
import JSON
import TensorFiles

/// How byte-level tokenizers cut texts, by `tokenizer.ggml.pre`: the names that llama.cpp's converter gives to the tokenizers of
/// published models, and the expressions that these have in their `tokenizer.json` (llama.cpp quotes them in
/// `llama-vocab.cpp`). A name that is not here is refused: with other expressions a text has other tokens.
package struct GGUFPreTokenizer {
    enum Step: Hashable {
        /// Every digit is a word.
        case digits
        /// What matches is a word, and what is between matches.
        case expression(String)
    }

    var steps: [Step] = []
    /// Whether words are what GPT-2's expression matches in what the steps leave.
    var endsWithGPT2Words = false
    /// Whether texts are normalized (NFC) first.
    var composes = false
    /// Whether a word that is a token is not merged.
    var ignoresMerges = false
    /// Whether a text begins with BOS where the file does not say.
    var addsBeginOfSequence = false

    private static let key = "tokenizer.ggml.pre"
    private static let words = #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let llama3Expression = #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"# + words
    private static let qwen2Expression = #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + words
    private static let tekkenExpression =
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"#
        + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"#
        + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    private static let known: [String: GGUFPreTokenizer] = {
        let gpt2 = GGUFPreTokenizer(endsWithGPT2Words: true)
        let digits = GGUFPreTokenizer(steps: [.digits], endsWithGPT2Words: true)
        let llama3 = GGUFPreTokenizer(
            steps: [.expression(llama3Expression)], ignoresMerges: true, addsBeginOfSequence: true)
        let qwen2 = GGUFPreTokenizer(steps: [.expression(qwen2Expression)], composes: true)
        let tekken = GGUFPreTokenizer(
            steps: [.expression(tekkenExpression)], ignoresMerges: true, addsBeginOfSequence: true)
        return [
            "gpt-2": gpt2, "smollm": digits, "starcoder": digits, "refact": digits, "llama-bpe": llama3,
            "llama3": llama3, "llama-v3": llama3, "falcon3": llama3, "qwen2": qwen2, "deepseek-r1-qwen": qwen2,
            "tekken": tekken,
        ]
    }()

    /// - Throws: `GGUFError.unsupportedValue`.
    init(_ metadata: GGUFMetadata) throws {
        let name = try metadata.string(Self.key)
        guard let known = name.flatMap({ Self.known[$0] }) else {
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: Self.key, found: name.map { "\"\($0)\"" } ?? "missing",
                supported: Self.known.keys.sorted().joined(separator: ", "))
        }
        self = known
    }

    private init(
        steps: [Step] = [], endsWithGPT2Words: Bool = false, composes: Bool = false, ignoresMerges: Bool = false,
        addsBeginOfSequence: Bool = false
    ) {
        self.steps = steps
        self.endsWithGPT2Words = endsWithGPT2Words
        self.composes = composes
        self.ignoresMerges = ignoresMerges
        self.addsBeginOfSequence = addsBeginOfSequence
    }

    // MARK: From tokenizer.json

    /// What the tokenizer of a directory is called, for a file that is written.
    ///
    /// - Throws: `GGUFError.unsupportedValue` where it is none of the known ones, `JSONNodeError`, `FileError`.
    package static func name(ofTokenizerIn directory: URL) throws -> String {
        let file = directory.appending(path: "tokenizer.json")
        // `vocab.json` and `merges.txt` are GPT-2's form, and its way to cut texts.
        guard try ModelFile.exists(file) else { return "gpt-2" }
        let root = try ModelFile.contents(of: file, limit: 256 << 20).withUnsafeBytes {
            try JSONNode(parsing: $0, file: file.path, duplicateKeys: .lastCounts)
        }
        let found = try Self(tokenizerFile: root)
        // Of names that mean the same, the one of the first model.
        let names = ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"]
        guard let name = names.first(where: { known[$0]?.cutsAlike(found) == true }) else {
            throw GGUFError.unsupportedValue(
                file: file.path, key: "pre_tokenizer",
                found: root["pre_tokenizer"].value.map { $0.serialized() } ?? "missing",
                supported: names.joined(separator: ", "))
        }
        return name
    }

    private init(tokenizerFile root: JSONNode) throws {
        func parts(_ node: JSONNode, _ list: String) throws -> [JSONNode] {
            guard let node = node.nonNull else { return [] }
            guard try node["type"].string() == "Sequence" else { return [node] }
            return try node[list].elements().flatMap { try parts($0, list) }
        }
        self.init()
        for part in try parts(root["pre_tokenizer"], "pretokenizers") {
            switch try part["type"].string() {
            case "Digits":
                guard try part["individual_digits"].nonNull?.boolean() == true else { fallthrough }
                steps.append(.digits)
            case "Split":
                guard let expression = try part["pattern"]["Regex"].nonNull?.string(),
                    try part["behavior"].string() == "Isolated", try part["invert"].nonNull?.boolean() != true
                else { fallthrough }
                steps.append(.expression(expression))
            case "ByteLevel": endsWithGPT2Words = try part["use_regex"].nonNull?.boolean() ?? true
            default: steps.append(.expression(part.value.map { $0.serialized() } ?? ""))
            }
        }
        composes = try parts(root["normalizer"], "normalizers").contains { try $0["type"].string() == "NFC" }
        ignoresMerges = try root["model"]["ignore_merges"].nonNull?.boolean() ?? false
    }

    private func cutsAlike(_ other: Self) -> Bool {
        steps == other.steps && endsWithGPT2Words == other.endsWithGPT2Words && composes == other.composes
            && ignoresMerges == other.ignoresMerges
    }
}
