import JSON

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

/// Distinct byte strings, numbered in the order in which they came.
///
/// The bytes lie in one array, and a hash table with linear probing finds them: 128k tokens cost a handful of allocations.
/// Bytes and not `String`, because Swift's strings are equal when they are canonically equivalent, and tokens are not.
struct ByteStringTable: Sendable {
    private var bytes: [UInt8] = []
    /// Where each string begins; one more than there are strings.
    private var starts: [Int] = [0]
    private var hashes: [Int] = []
    /// Index of a string or −1. The length is a power of two, at least twice the number of strings.
    private var slots = [Int32](repeating: -1, count: 1024)

    /// Number of strings.
    var count: Int { hashes.count }

    /// The string of an index. O(1).
    subscript(index: Int) -> ArraySlice<UInt8> { bytes[starts[index]..<starts[index + 1]] }

    /// The index of a string. O(length).
    func index(of string: UnsafeBufferPointer<UInt8>) -> Int? {
        let index = slots[slot(of: string, hash: Self.hash(string))]
        return index < 0 ? nil : Int(index)
    }

    /// Adds a string if it is new. Amortised O(length).
    mutating func insert(_ string: UnsafeBufferPointer<UInt8>) -> (index: Int, isNew: Bool) {
        let hash = Self.hash(string)
        let slot = slot(of: string, hash: hash)
        if slots[slot] >= 0 { return (Int(slots[slot]), false) }
        slots[slot] = Int32(count)
        bytes.append(contentsOf: string)
        starts.append(bytes.count)
        hashes.append(hash)
        if count * 2 > slots.count { growSlots() }
        return (count - 1, true)
    }

    private static func hash(_ string: UnsafeBufferPointer<UInt8>) -> Int {
        // Hasher is seeded per process: no file can be made to collide in it.
        var hasher = Hasher()
        hasher.combine(bytes: UnsafeRawBufferPointer(string))
        return hasher.finalize()
    }

    /// The slot that holds `string`, or the free one where it would go.
    private func slot(of string: UnsafeBufferPointer<UInt8>, hash: Int) -> Int {
        let mask = slots.count - 1
        var slot = hash & mask
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if hashes[index] == hash, self[index].elementsEqual(string) { return slot }
            slot = (slot + 1) & mask
        }
        return slot
    }

    private mutating func growSlots() {
        let mask = slots.count * 2 - 1
        slots = [Int32](repeating: -1, count: mask + 1)
        for (index, hash) in hashes.enumerated() {
            var slot = hash & mask
            while slots[slot] >= 0 { slot = (slot + 1) & mask }
            slots[slot] = Int32(index)
        }
    }
}

extension Vocabulary {
    /// Adds the tokens of the object that `reader` comes to: tokens and their ids. An error names `file` and `key`.
    mutating func read(_ reader: inout JSONReader, file: String, key: String) throws {
        func malformed(_ token: [UInt8], _ reason: String) -> TokenizerError {
            let spelling = String(decoding: token, as: UTF8.self).prefix(64)
            return .malformed(file: file, key: key, reason: "token \"\(spelling)\": \(reason)")
        }
        try reader.readObject { reader, token in
            let kind = try reader.peekKind()
            guard kind == .number else { throw malformed(token, "expected an id, found \(kind.rawValue)") }
            let id = try reader.readInteger()
            do throws(Vocabulary.Refusal) {
                try insert(token, id: id)
            } catch {
                switch error {
                case .idOutOfRange:
                    throw malformed(token, "id \(id) is out of range; ids are 0 to \(Vocabulary.maximumID)")
                case .spellingTaken(let other):
                    throw malformed(token, "has two ids, \(other) and \(id)")
                case .idTaken:
                    let other = spelling(of: id).map { String(decoding: $0, as: UTF8.self) } ?? ""
                    throw malformed(token, "has id \(id), which is that of \"\(other.prefix(64))\" too")
                }
            }
        }
    }
}
