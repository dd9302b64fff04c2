import Foundation

/// Trains byte-level byte-pair tokenizers.
///
/// Texts are cut into words by GPT-2's pattern. From single bytes on, the pair of neighbouring tokens that is most frequent
/// in the text becomes a token, again and again (Sennrich et al. 2016). Of equally frequent pairs the one with the smaller ids
/// goes first, so the same texts always give the same tokenizer.
public enum BytePairTrainer {
    /// The token that opens a text, id 0; `encode` adds it.
    public static let beginOfSequence = "<s>"
    /// The token that closes a text, id 1; whoever writes a corpus adds it.
    public static let endOfSequence = "</s>"

    /// Fewest tokens a byte-level tokenizer has: BOS, EOS and the bytes.
    public static let minimumVocabularySize = specialTokens.count + ByteAlphabet.spellings.count

    static let specialTokens = [beginOfSequence, endOfSequence]

    /// Trains a tokenizer and returns its `tokenizer.json`.
    ///
    /// The vocabulary is smaller than asked for when the text has no more pairs that occur twice.
    ///
    /// - Complexity: O(n log n) in the length of the distinct words, for each of which one copy is kept.
    /// - Throws: `TokenizerError` where a vocabulary of this size is not possible.
    public static func train(texts: some Sequence<String>, vocabularySize: Int) throws -> Data {
        guard vocabularySize >= minimumVocabularySize else {
            throw TokenizerError.vocabularyTooSmall(requested: vocabularySize, minimum: minimumVocabularySize)
        }
        guard vocabularySize <= Vocabulary.maximumID else {
            throw TokenizerError.vocabularyTooLarge(requested: vocabularySize, maximum: Vocabulary.maximumID)
        }
        var words = WordCounts()
        for text in texts { words.add(text) }
        var learner = MergeLearner(words: words)
        learner.learn(vocabularySize: vocabularySize)
        return TrainedTokenizerFile(spellings: learner.spellings, merges: learner.merges).jsonData
    }

    /// The `tokenizer_config.json` that names BOS and EOS of a trained tokenizer.
    public static var tokenizerConfiguration: Data {
        Data(
            """
            {
              "bos_token": "\(beginOfSequence)",
              "eos_token": "\(endOfSequence)",
              "clean_up_tokenization_spaces": false,
              "tokenizer_class": "PreTrainedTokenizerFast"
            }

            """.utf8
        )
    }
}
