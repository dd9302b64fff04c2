import Foundation
import JSON

/// What a file of ranks does not say, and the code that comes with the model does.
struct TiktokenFamily {
    /// By so many tokens a file is known to be the family's.
    let tokenCount: Int
    /// What the words of a text match.
    let expression: String
    /// In the order of their ids, which follow the ranks.
    let specialTokens: [String]
    let beginOfSequence: String
    let endOfSequence: String

    /// LLaMA 3 to 3.3: Meta's `llama-models` 0.3.0, `models/llama3/tokenizer.py`.
    ///
    /// The 256 special tokens have the names of that release. Of the same ids LLaMA 3's first release called some
    /// `<|reserved_special_token_…|>` that were put to use later (`<|finetune_right_pad_id|>`, `<|step_id|>`, `<|eom_id|>`,
    /// `<|python_tag|>`, `<|image|>`), and numbered the others accordingly.
    static let llama3: TiktokenFamily = {
        let named = [
            "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
            "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
            "<|eot_id|>", "<|python_tag|>", "<|image|>",
        ]
        return TiktokenFamily(
            tokenCount: 128_000,
            expression: WordScanner.llama3Pattern(digits: "{1,3}"),
            specialTokens: named + (2..<246).map { "<|reserved_special_token_\($0)|>" },
            beginOfSequence: "<|begin_of_text|>",
            endOfSequence: "<|end_of_text|>")
    }()
}

/// A `tokenizer.model` as `tiktoken` reads it: a token in base 64 and its rank on each line.
struct TiktokenFile {
    private let data: Data
    private let file: String

    /// Nil where the first line is none of such a file's.
    init?(_ data: Data, file: String) {
        let line = data.prefix(2 * MergeableRanks.maximumTokenBytes).prefix { $0 != UInt8(ascii: "\n") }
        guard let text = String(validating: line, as: UTF8.self),
            text.wholeMatch(of: /[A-Za-z0-9+\/]+=* -?[0-9]+\r?/) != nil
        else { return nil }
        self.data = data
        self.file = file
    }

    /// - Throws: `TokenizerError`, naming the line.
    func ranks() throws -> MergeableRanks {
        var ranks = MergeableRanks(file: file) { "line \($0 + 1)" }
        try data.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
                var line = rest[..<end]
                rest = rest[min(end + 1, rest.endIndex)...]
                if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
                guard let space = line.firstIndex(of: UInt8(ascii: " ")),
                    let rank = Int(String(decoding: line[(space + 1)...], as: UTF8.self))
                else {
                    throw TokenizerError.malformed(
                        file: file, key: "line \(ranks.count + 1)",
                        reason: "expected a token in base 64, a space and its rank")
                }
                try ranks.append(base64: line[..<space], rank: rank)
            }
        }
        return ranks
    }
}

extension BytePairTokenizer {
    /// A text gets BOS in front, unless `tokenizer_config.json` beside the file says otherwise. The names that it gives to ids
    /// count before those of the family.
    ///
    /// - Throws: `TokenizerError`, `JSONNodeError`.
    init(_ file: TiktokenFile, at url: URL, family: TiktokenFamily = .llama3) throws {
        let ranks = try file.ranks()
        guard ranks.count == family.tokenCount else {
            throw TokenizerError.unsupported(
                file: url.path, key: "", found: "a tiktoken vocabulary of \(ranks.count) tokens",
                supported:
                    "LLaMA 3's of \(family.tokenCount). How others cut texts (LLaMA 4, GLM-4, Qwen 1) is not in the "
                    + "file: convert the model's tokenizer to tokenizer.json with transformers")
        }
        let model = try ranks.makeModel(firstID: 0)
        let place = JSONNode(nil, file: url.path)
        let known = try family.specialTokens.enumerated().map { index, content in
            try AddedTokenEntry(AddedToken(id: ranks.count + index, content: content), id: place, content: place)
        }
        let configuration = try TokenizerConfiguration(directory: url.deletingLastPathComponent())
        self = try BytePairTokenizer(
            model, known: configuration.unnamed(of: known), configuration: configuration,
            words: SearchPattern(expression: family.expression, at: place),
            beginOfSequence: family.beginOfSequence, endOfSequence: family.endOfSequence)
    }

    /// The tokenizer of a vocabulary of ranks: words are what an expression matches, and BOS stands in front of a text.
    init(
        _ model: BytePairModel, known: [AddedTokenEntry], configuration: TokenizerConfiguration, words: SearchPattern,
        beginOfSequence: String, endOfSequence: String
    ) throws {
        let entries = try configuration.addedTokens(known: known, beside: model.vocabulary)
        let addedTokens = try AddedTokens(checking: entries, model.vocabulary, nil)
        let begin = addedTokens.id(of: configuration.beginOfSequence ?? beginOfSequence)
        let end = addedTokens.id(of: configuration.endOfSequence ?? endOfSequence)
        self.init(
            normalizer: nil,
            preTokenizer: .sequence([
                .split(words, .isolated, inverted: false), .byteLevel(addsPrefixSpace: false, splitsWords: false),
            ]),
            model: model,
            postProcessor: configuration.applied(
                to: PostProcessor(prefix: [begin].compactMap { $0 }), beginOfSequence: begin, endOfSequence: end),
            decoder: TextDecoder(stages: [ByteLevelStage()]),
            addedTokens: addedTokens,
            beginOfSequence: begin,
            endOfSequence: end)
    }
}
