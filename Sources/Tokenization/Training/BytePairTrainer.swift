import Foundation

/// Trains byte-level byte-pair tokenizers.
///
/// Texts are cut into words by GPT-2's pattern. From single bytes on, the pair of neighboring tokens that is most frequent
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

/// Finds the merges: keeps the counts of all pairs up to date while words shrink.
struct MergeLearner {
    /// A pair of neighboring tokens.
    struct Pair: Hashable, Comparable {
        var left: Int32
        var right: Int32

        static func < (first: Pair, second: Pair) -> Bool {
            (first.left, first.right) < (second.left, second.right)
        }
    }

    /// A pair with the count that it had when it was queued; more frequent ones come first.
    private struct Candidate: Comparable {
        let count: Int
        let pair: Pair

        static func < (first: Candidate, second: Candidate) -> Bool {
            first.count == second.count ? first.pair < second.pair : first.count > second.count
        }
    }

    private struct Occurrences {
        var count = 0
        /// Words that have had the pair; it may be gone from some.
        var words: [Int32] = []
    }

    /// Spelling of each token, in the byte alphabet.
    private(set) var spellings: [[UInt8]]
    /// The pairs that merge, the first one first.
    private(set) var merges: [Pair] = []

    private var ids: [[UInt8]: Int32]
    private var words: [(symbols: [Int32], count: Int)] = []
    private var pairs: [Pair: Occurrences] = [:]
    private var queue = MinimumHeap<Candidate>()

    init(words counts: WordCounts) {
        spellings = BytePairTrainer.specialTokens.map { Array($0.utf8) }
        let firstByte = Int32(spellings.count)
        spellings += ByteAlphabet.spellings
        ids = Dictionary(uniqueKeysWithValues: spellings.enumerated().map { ($0.element, Int32($0.offset)) })
        words.reserveCapacity(counts.count)
        for index in 0..<counts.count {
            let (word, count) = counts[index]
            words.append((word.map { firstByte + Int32($0) }, count))
            countPairs(ofWord: index, sign: 1)
            for pair in Self.pairs(in: words[index].symbols) { register(pair, ofWord: index) }
        }
        for (pair, occurrences) in pairs { queue.push(Candidate(count: occurrences.count, pair: pair)) }
    }

    /// Merges until there are `vocabularySize` tokens, or no pair that occurs twice is left.
    mutating func learn(vocabularySize: Int) {
        while spellings.count < vocabularySize, let candidate = queue.pop() {
            // Counts fall while a pair waits: it then waits again with the count that it has.
            let count = pairs[candidate.pair]?.count ?? 0
            guard count == candidate.count else {
                if count > 0 { queue.push(Candidate(count: count, pair: candidate.pair)) }
                continue
            }
            guard count > 1 else { return }
            let spelling = spellings[Int(candidate.pair.left)] + spellings[Int(candidate.pair.right)]
            // Two pairs can spell the same token. None may spell a special one, which text must not become.
            let known = ids[spelling]
            if let known, known < BytePairTrainer.specialTokens.count { continue }
            let product = known ?? Int32(spellings.count)
            if known == nil {
                ids[spelling] = product
                spellings.append(spelling)
            }
            merges.append(candidate.pair)
            merge(candidate.pair, into: product)
        }
    }

    private mutating func merge(_ pair: Pair, into product: Int32) {
        var grown: Set<Pair> = []
        for word in pairs[pair]?.words ?? [] {
            let index = Int(word)
            let merged = Self.merged(words[index].symbols, pair, into: product)
            guard merged.count < words[index].symbols.count else { continue }
            countPairs(ofWord: index, sign: -1)
            words[index].symbols = merged
            countPairs(ofWord: index, sign: 1)
            for pair in Self.pairs(in: merged) where pair.left == product || pair.right == product {
                register(pair, ofWord: index)
                grown.insert(pair)
            }
        }
        pairs[pair] = nil
        for pair in grown { queue.push(Candidate(count: pairs[pair]?.count ?? 0, pair: pair)) }
    }

    private static func merged(_ symbols: [Int32], _ pair: Pair, into product: Int32) -> [Int32] {
        var merged: [Int32] = []
        merged.reserveCapacity(symbols.count)
        var position = 0
        while position < symbols.count {
            let isPair =
                position + 1 < symbols.count && symbols[position] == pair.left && symbols[position + 1] == pair.right
            merged.append(isPair ? product : symbols[position])
            position += isPair ? 2 : 1
        }
        return merged
    }

    private mutating func countPairs(ofWord index: Int, sign: Int) {
        let (symbols, count) = words[index]
        for pair in Self.pairs(in: symbols) { pairs[pair, default: Occurrences()].count += sign * count }
    }

    /// Notes that the word has the pair.
    private mutating func register(_ pair: Pair, ofWord index: Int) {
        if pairs[pair]?.words.last != Int32(index) { pairs[pair]?.words.append(Int32(index)) }
    }

    private static func pairs(in symbols: [Int32]) -> some Sequence<Pair> {
        zip(symbols, symbols.dropFirst()).lazy.map { Pair(left: $0, right: $1) }
    }
}

/// How often each word occurs in the texts.
struct WordCounts {
    private var table = ByteStringTable()
    private var counts: [Int] = []

    /// Number of distinct words.
    var count: Int { counts.count }

    /// A word and how often it occurs.
    subscript(index: Int) -> (word: ArraySlice<UInt8>, count: Int) { (table[index], counts[index]) }

    /// Counts the words of a text.
    mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { bytes in
            WordScanner(bytes, range: 0..<bytes.count).forEachGPT2Word { word in
                let (index, isNew) = table.insert(UnsafeBufferPointer(rebasing: bytes[word]))
                if isNew { counts.append(1) } else { counts[index] += 1 }
            }
        }
    }
}
