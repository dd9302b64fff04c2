import Foundation
import JSON

extension BytePairTokenizer {
    /// Reads `vocab.json` and `merges.txt`, which tokenizers of before `tokenizer.json` consist of: GPT-2's, and the
    /// published OPT models'.
    ///
    /// What they do not say, `tokenizer_config.json` beside them does: by `tokenizer_class` how texts are cut (GPT-2's where
    /// it is missing), by `add_bos_token` and `add_eos_token` what is put around a text (nothing where they are missing;
    /// OPT's puts `</s>` in front). Tokens that the files beside the vocabulary add or name are part of the tokenizer.
    ///
    /// - Throws: `TokenizerError`, naming file and key, and `FileError` where a file cannot be read.
    public init(vocabulary: URL, merges: URL) throws {
        self = try withTokenizerErrors { try BytePairTokenizer(vocabularyFile: vocabulary, mergesFile: merges) }
    }

    private init(vocabularyFile vocabularyURL: URL, mergesFile mergesURL: URL) throws {
        let configuration = try TokenizerConfiguration(directory: vocabularyURL.deletingLastPathComponent())
        let pipeline = try ByteLevelPipeline(configuration: configuration.root)
        let vocabulary = try Self.readVocabulary(vocabularyURL)
        var entries = try configuration.addedTokens(beside: vocabulary)
        if let id = vocabulary.id(of: ByteLevelPipeline.standardToken.utf8),
            !entries.contains(where: { $0.token.id == id })
        {
            let token = AddedToken(id: id, content: ByteLevelPipeline.standardToken)
            entries.append(try AddedTokenEntry(token, id: configuration.root, content: configuration.root))
        }
        let addedTokens = try AddedTokens(checking: entries, vocabulary, pipeline.normalizer)
        func id(_ name: String?, standard: String?) -> Int? {
            (name ?? standard).flatMap { addedTokens.id(of: $0) ?? vocabulary.id(of: $0.utf8) }
        }
        let beginOfSequence = id(configuration.beginOfSequence, standard: pipeline.standardBeginOfSequence)
        let endOfSequence = id(configuration.endOfSequence, standard: ByteLevelPipeline.standardToken)
        self.init(
            normalizer: pipeline.normalizer,
            preTokenizer: pipeline.preTokenizer,
            model: BytePairModel(
                vocabulary: vocabulary,
                merges: try MergeList(mergesFile: mergesURL).table(of: vocabulary),
                unit: .bytes,
                unknown: nil,
                fusesUnknown: false,
                byteFallback: false,
                ignoresMerges: false
            ),
            postProcessor: configuration.applied(
                to: PostProcessor(), beginOfSequence: beginOfSequence, endOfSequence: endOfSequence),
            decoder: TextDecoder(stages: [ByteLevelStage()]),
            addedTokens: addedTokens,
            beginOfSequence: beginOfSequence,
            endOfSequence: endOfSequence
        )
    }

    private static func readVocabulary(_ url: URL) throws -> Vocabulary {
        try withJSONReader(of: try readSmallFile(url, limit: maximumTokenizerFileBytes), file: url.path) { reader in
            var vocabulary = Vocabulary()
            try vocabulary.read(&reader, file: url.path, key: "")
            try reader.readEnd()
            return vocabulary
        }
    }
}

/// How the tokenizers that come as `vocab.json` and `merges.txt` cut texts, by `tokenizer_class`.
struct ByteLevelPipeline {
    /// What BOS (of GPT-2), EOS and the unknown token are called where no file names them.
    static let standardToken = "<|endoftext|>"

    let normalizer: Normalizer?
    let preTokenizer: PreTokenizer
    let standardBeginOfSequence: String?

    init(configuration: JSONNode) throws {
        let addsPrefixSpace = try configuration["add_prefix_space"].boolean(default: false)
        let kind = configuration["tokenizer_class"]
        switch kind.isNull ? "GPT2Tokenizer" : try kind.string() {
        case "GPT2Tokenizer", "GPT2TokenizerFast":
            normalizer = nil
            preTokenizer = .byteLevel(addsPrefixSpace: addsPrefixSpace, splitsWords: true)
            standardBeginOfSequence = Self.standardToken
        case "Qwen2Tokenizer", "Qwen2TokenizerFast":
            normalizer = .canonicalComposition
            preTokenizer = .sequence([
                .split(.llama3Words(maximumDigits: 1), .isolated, inverted: false),
                .byteLevel(addsPrefixSpace: addsPrefixSpace, splitsWords: false),
            ])
            standardBeginOfSequence = nil
        case let name:
            throw kind.unsupported(
                "\(name) without tokenizer.json", supported: "GPT2Tokenizer, Qwen2Tokenizer; others with tokenizer.json"
            )
        }
    }
}
