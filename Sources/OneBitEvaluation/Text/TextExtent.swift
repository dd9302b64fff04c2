/// The size of a text in units that do not depend on a tokenizer, as lm-evaluation-harness counts them.
public struct TextExtent: Sendable, Hashable {
    /// Pieces between runs of white space, an empty one at an end included.
    public private(set) var words: Int
    /// Bytes of UTF-8.
    public private(set) var bytes: Int

    /// The size of several texts, each counted by itself.
    public init(of texts: some Sequence<String>) {
        (words, bytes) = (0, 0)
        for text in texts {
            words += Self.words(of: text)
            bytes += text.utf8.count
        }
    }

    /// Two texts, each counted by itself.
    static func + (one: TextExtent, other: TextExtent) -> TextExtent {
        var sum = one
        sum.words += other.words
        sum.bytes += other.bytes
        return sum
    }

    /// `len(re.split(r"\s+", text))`: one more than there are runs of white space.
    private static func words(of text: String) -> Int {
        var words = 1
        var isInSpace = false
        for scalar in text.unicodeScalars {
            let isSpace = PythonText.isSpace(scalar)
            if isSpace && !isInSpace { words += 1 }
            isInSpace = isSpace
        }
        return words
    }
}
