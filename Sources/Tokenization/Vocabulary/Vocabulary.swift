/// The tokens of a model, found by id and by spelling.
struct Vocabulary: Sendable {
    /// Ids above this are refused: the largest vocabularies in use have about 260k tokens, and tables are as long as
    /// the largest id.
    static let maximumID = (1 << 22) - 1

    /// Why a token could not be added.
    enum Refusal: Error {
        case idOutOfRange
        case spellingTaken(byID: Int)
        case idTaken
    }

    private var spellings = ByteStringTable()
    /// Id of each spelling.
    private var ids: [Int32] = []
    /// Index of each id's spelling, or −1.
    private var indices: [Int32] = []

    /// Number of tokens.
    var count: Int { ids.count }
    /// One more than the largest id.
    var upperBound: Int { indices.count }

    /// Adds a token. Amortised O(length).
    mutating func insert(_ spelling: [UInt8], id: Int) throws(Refusal) {
        guard 0...Self.maximumID ~= id else { throw .idOutOfRange }
        guard id >= indices.count || indices[id] < 0 else { throw .idTaken }
        let (index, isNew) = spelling.withUnsafeBufferPointer { spellings.insert($0) }
        guard isNew else { throw .spellingTaken(byID: Int(ids[index])) }
        if id >= indices.count { indices.append(contentsOf: repeatElement(-1, count: id + 1 - indices.count)) }
        indices[id] = Int32(index)
        ids.append(Int32(id))
    }

    /// The id of the token spelled `bytes`. O(length).
    func id(of bytes: UnsafeBufferPointer<UInt8>) -> Int? {
        spellings.index(of: bytes).map { Int(ids[$0]) }
    }

    /// The id of the token spelled `bytes`. O(length).
    func id(of bytes: some Sequence<UInt8>) -> Int? {
        Array(bytes).withUnsafeBufferPointer { id(of: $0) }
    }

    /// The spelling of token `id`. O(1).
    func spelling(of id: Int) -> ArraySlice<UInt8>? {
        guard indices.indices.contains(id), indices[id] >= 0 else { return nil }
        return spellings[Int(indices[id])]
    }
}
