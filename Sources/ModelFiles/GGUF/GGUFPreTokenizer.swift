import Foundation
import TensorFiles

/// How byte-level tokenizers cut texts, by `tokenizer.ggml.pre`: the names that llama.cpp's converter gives to the tokenizers of
/// published models, and the expressions that these have in their `tokenizer.json` (llama.cpp quotes them in
/// `llama-vocab.cpp`). A name that is not here is refused: with other expressions a text has other tokens.
package struct GGUFPreTokenizer {
    package enum Step: Hashable {
        /// Every digit is a word.
        case digits
        /// What matches is a word, and what is between matches.
        case expression(String)
    }

    package var steps: [Step] = []
    /// Whether words are what GPT-2's expression matches in what the steps leave.
    package var endsWithGPT2Words = false
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

    package init(
        steps: [Step] = [], endsWithGPT2Words: Bool = false, composes: Bool = false, ignoresMerges: Bool = false,
        addsBeginOfSequence: Bool = false
    ) {
        self.steps = steps
        self.endsWithGPT2Words = endsWithGPT2Words
        self.composes = composes
        self.ignoresMerges = ignoresMerges
        self.addsBeginOfSequence = addsBeginOfSequence
    }

    /// What the tokenizer of a directory is called that cuts texts this way, for a file that is written.
    ///
    /// - Throws: `GGUFError.unsupportedValue` where it is none of the known ones.
    package func name(ofTokenizerIn directory: URL) throws -> String {
        // Of names that mean the same, the one of the first model.
        let names = ["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"]
        guard let name = names.first(where: { Self.known[$0].map(cutsAlike) == true }) else {
            throw GGUFError.unsupportedValue(
                file: directory.path, key: "pre_tokenizer", found: description, supported: names.joined(separator: ", ")
            )
        }
        return name
    }

    private func cutsAlike(_ other: Self) -> Bool {
        steps == other.steps && endsWithGPT2Words == other.endsWithGPT2Words && composes == other.composes
            && ignoresMerges == other.ignoresMerges
    }

    private var description: String {
        let steps = steps.map { step in
            switch step {
            case .digits: "digits one by one"
            case .expression(let expression): expression
            }
        }
        let parts =
            (composes ? ["NFC"] : []) + steps + (endsWithGPT2Words ? ["GPT-2's words"] : [])
            + (ignoresMerges ? ["words that are tokens whole"] : [])
        return parts.isEmpty ? "nothing" : parts.joined(separator: ", ")
    }
}
