/// The merges of a file in their order, as it spells them: the vocabulary that gives them ids may come later.
///
/// The spellings lie one after the other in one array; 280k merges cost a handful of allocations.
struct MergeList {
    private let file: String
    private let place: (_ index: Int) -> String
    private var spellings: [UInt8] = []
    /// Where each spelling ends: two for each merge.
    private var ends: [Int] = []

    /// `place` says what an error calls the merge of an index: `model.merges[17]`.
    init(file: String, place: @escaping (_ index: Int) -> String) {
        self.file = file
        self.place = place
    }

    /// Number of whole merges.
    var count: Int { ends.count / 2 }

    /// Adds a merge written as "left right". `spell` appends its bytes.
    mutating func appendSpaced(_ spell: (inout [UInt8]) throws -> Void) throws {
        let start = spellings.count
        try spell(&spellings)
        let space = UInt8(ascii: " ")
        guard let middle = spellings[start...].firstIndex(of: space), !spellings[(middle + 1)...].contains(space) else {
            throw malformed(count, "expected two tokens with one space between them")
        }
        spellings.remove(at: middle)
        ends.append(middle)
        ends.append(spellings.count)
    }

    /// Adds one token of a merge whose tokens are written apart: left, then right. `spell` appends its bytes.
    mutating func appendToken(_ spell: (inout [UInt8]) throws -> Void) rethrows {
        try spell(&spellings)
        ends.append(spellings.count)
    }

    /// The table of the merges, ranked by their order.
    ///
    /// - Throws: `TokenizerError` where a merge's tokens, or what they become, are not in the vocabulary.
    func table(of vocabulary: Vocabulary) throws -> MergeTable {
        var table = MergeTable()
        try spellings.withUnsafeBufferPointer { spellings in
            var start = 0
            for index in 0..<count {
                let middle = ends[2 * index]
                let end = ends[2 * index + 1]
                func id(_ range: Range<Int>) throws -> Int {
                    let spelling = UnsafeBufferPointer(rebasing: spellings[range])
                    guard let id = vocabulary.id(of: spelling) else {
                        let token = String(decoding: spelling, as: UTF8.self).prefix(64)
                        throw malformed(index, "token \"\(token)\" is not in the vocabulary")
                    }
                    return id
                }
                let left = try id(start..<middle)
                let right = try id(middle..<end)
                table.insert(left: left, right: right, rank: UInt32(index), product: try id(start..<end))
                start = end
            }
        }
        return table
    }

    /// What is wrong with the merge of an index.
    func malformed(_ index: Int, _ reason: String) -> TokenizerError {
        .malformed(file: file, key: place(index), reason: reason)
    }
}
