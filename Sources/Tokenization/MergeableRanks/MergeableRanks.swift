/// A byte-level vocabulary in tiktoken's form: byte strings in the order of their ranks, and no list of merges.
///
/// tiktoken merges, as long as there is one, the pair of neighbors whose bytes together have the lowest rank, the leftmost of
/// equals (`openai/tiktoken`, `_byte_pair_merge` in `src/lib.rs`). So every way to cut a token in two tokens is a merge, and the
/// token's rank is the merge's. A word that is a token is not merged at all.
struct MergeableRanks {
    /// More tokens than this are refused: the largest vocabularies in use have 200,000.
    static let maximumCount = 1 << 20

    /// Longer tokens are refused: the time to find a token's merges grows with the square of its length. The longest of LLaMA 3
    /// has 128 bytes, that of Mistral 78.
    static let maximumTokenBytes = 256

    /// More bytes of tokens are refused, for the same reason: those of Mistral have one million.
    static let maximumTotalBytes = 8 << 20

    private let file: String
    private let place: (_ rank: Int) -> String
    private var bytes: [UInt8] = []
    /// Where each token ends.
    private var ends: [Int] = []

    /// `place` says what an error calls the token of a rank: `line 18`.
    init(file: String, place: @escaping (_ rank: Int) -> String) {
        self.file = file
        self.place = place
    }

    /// Number of tokens.
    var count: Int { ends.count }

    /// Adds the token of the next rank, given in base 64.
    ///
    /// - Parameter rank: what the file says that it is: tokens come in order of their ranks, and no rank is left out.
    mutating func append(base64: some Collection<UInt8>, rank: Int) throws {
        guard count < Self.maximumCount else { throw malformed(count, "more than \(Self.maximumCount) tokens") }
        guard rank == count else {
            let owner = 0..<count ~= rank ? ", which \(place(rank)) has already" : ""
            throw malformed(count, "has rank \(rank)\(owner); expected \(count): ranks rise by one from 0")
        }
        let start = ends.last ?? 0
        guard Base64.append(base64, to: &bytes) else {
            let text = String(decoding: base64.prefix(64), as: UTF8.self)
            throw malformed(count, "\"\(text)\" is not base 64")
        }
        guard 1...Self.maximumTokenBytes ~= bytes.count - start else {
            throw malformed(count, "\(bytes.count - start) bytes; expected 1 to \(Self.maximumTokenBytes)")
        }
        guard bytes.count <= Self.maximumTotalBytes else {
            throw malformed(count, "with it there are more than \(Self.maximumTotalBytes) bytes of tokens")
        }
        ends.append(bytes.count)
    }

    /// Drops the tokens of the highest ranks.
    mutating func truncate(to count: Int) {
        ends.removeLast(max(0, self.count - count))
        bytes.removeLast(bytes.count - (ends.last ?? 0))
    }

    /// The model; a token's id is its rank and `firstID`.
    ///
    /// - Throws: `TokenizerError` where two tokens are the same bytes, or one of the 256 bytes is no token.
    func makeModel(firstID: Int) throws -> BytePairModel {
        var vocabulary = Vocabulary()
        var spelling: [UInt8] = []
        var start = 0
        for (rank, end) in ends.enumerated() {
            spelling.removeAll(keepingCapacity: true)
            ByteAlphabet.spell(bytes[start..<end], into: &spelling)
            start = end
            do throws(Vocabulary.Refusal) {
                try vocabulary.insert(spelling, id: firstID + rank)
            } catch {
                switch error {
                case .spellingTaken(let other): throw malformed(rank, "the same bytes as \(place(other - firstID))")
                case .idOutOfRange, .idTaken:
                    throw malformed(rank, "id \(firstID + rank) is out of range; ids are 0 to \(Vocabulary.maximumID)")
                }
            }
        }
        if let byte = ByteAlphabet.spellings.firstIndex(where: { vocabulary.id(of: $0) == nil }) {
            throw TokenizerError.malformed(
                file: file, key: "",
                reason: "no token is the byte \(byte) alone; a byte-level vocabulary has one for each of the 256 bytes")
        }
        return BytePairModel(
            vocabulary: vocabulary, merges: merges(of: vocabulary, firstID: firstID), unit: .bytes, unknown: nil,
            fusesUnknown: false, byteFallback: false, ignoresMerges: true)
    }

    private func merges(of vocabulary: Vocabulary, firstID: Int) -> MergeTable {
        var merges = MergeTable()
        for rank in 0..<count {
            let id = firstID + rank
            vocabulary.spelling(of: id)?.withUnsafeBufferPointer { spelling in
                merges.insertCuts(of: id, spelled: spelling, rank: UInt32(rank)) { vocabulary.id(of: $0) }
            }
        }
        return merges
    }

    private func malformed(_ rank: Int, _ reason: String) -> TokenizerError {
        .malformed(file: file, key: place(rank), reason: reason)
    }
}

/// Base 64 with padding (RFC 4648, section 4), straight into an array: Foundation's makes an object of each token.
private enum Base64 {
    private static let padding = UInt8(ascii: "=")

    private static let values: [UInt8?] = {
        var values = [UInt8?](repeating: nil, count: 256)
        let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        for (value, digit) in digits.utf8.enumerated() { values[Int(digit)] = UInt8(value) }
        return values
    }()

    /// Appends the bytes that `text` stands for; false where it is not base 64.
    static func append(_ text: some Collection<UInt8>, to output: inout [UInt8]) -> Bool {
        let length = text.count
        guard length.isMultiple(of: 4) else { return false }
        let paddingLength = text.suffix(2).count { $0 == padding }
        var bits: UInt32 = 0
        for (index, digit) in text.enumerated() {
            let value: UInt8
            if index >= length - paddingLength {
                guard digit == padding else { return false }
                value = 0
            } else if let known = values[Int(digit)] {
                value = known
            } else {
                return false
            }
            bits = bits << 6 | UInt32(value)
            guard index % 4 == 3 else { continue }
            output.append(UInt8(truncatingIfNeeded: bits >> 16))
            output.append(UInt8(truncatingIfNeeded: bits >> 8))
            output.append(UInt8(truncatingIfNeeded: bits))
        }
        output.removeLast(paddingLength)
        return true
    }
}
