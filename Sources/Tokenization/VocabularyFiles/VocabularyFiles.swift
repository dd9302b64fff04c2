import Foundation
import ModelDescription

extension BytePairTokenizer {
    /// Reads `vocab.json` and `merges.txt`, which tokenizers of before `tokenizer.json` consist of: GPT-2's, and the
    /// published OPT models'.
    ///
    /// What they do not say, `tokenizer_config.json` beside them does: by `tokenizer_class` how texts are cut (GPT-2's where
    /// it is missing), by `add_bos_token` and `add_eos_token` what is put around a text (nothing where they are missing;
    /// OPT's puts `</s>` in front), and it names the special tokens, as `special_tokens_map.json` does for what it leaves
    /// out. `added_tokens_decoder` or, where that is missing, `added_tokens.json` adds tokens to the vocabulary.
    ///
    /// - Throws: `TokenizerError`, naming file and key.
    public init(vocabulary vocabularyURL: URL, merges mergesURL: URL) throws {
        let directory = vocabularyURL.deletingLastPathComponent()
        let named = try NamedSpecialTokens(directory: directory)
        let pipeline = try ByteLevelPipeline(configuration: named.configuration)
        let vocabulary = try Self.readVocabulary(vocabularyURL)
        let addedTokens = try AddedTokens(
            checking: try AddedTokenEntry.entries(
                named, beside: vocabulary, in: directory, standardToken: ByteLevelPipeline.standardToken),
            vocabulary, pipeline.normalizer)
        func id(_ name: String?, standard: String?) -> Int? {
            (name ?? standard).flatMap { addedTokens.id(of: $0) ?? vocabulary.id(of: $0.utf8) }
        }
        let beginOfSequence = id(named.beginOfSequence, standard: pipeline.standardBeginOfSequence)
        let endOfSequence = id(named.endOfSequence, standard: ByteLevelPipeline.standardToken)
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
            postProcessor: try named.applied(
                to: PostProcessor(), beginOfSequence: beginOfSequence, endOfSequence: endOfSequence),
            decoder: TextDecoder(stages: [ByteLevelStage()]),
            addedTokens: addedTokens,
            beginOfSequence: beginOfSequence,
            endOfSequence: endOfSequence
        )
    }

    private static func readVocabulary(_ url: URL) throws -> Vocabulary {
        try withJSONReader(of: try readTokenizerFile(at: url), file: url.path) { reader in
            var vocabulary = Vocabulary()
            try vocabulary.read(&reader, file: url.path, key: "")
            try reader.readEnd()
            return vocabulary
        }
    }
}
