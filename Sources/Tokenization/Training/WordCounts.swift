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
