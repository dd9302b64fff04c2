import Foundation
import JSON

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

extension MergeList {
    /// Reads `merges.txt`: a merge a line, after a line that says `#version`.
    init(mergesFile url: URL) throws {
        let data = try readSmallFile(url, limit: maximumTokenizerFileBytes)
        guard String(validating: data, as: UTF8.self) != nil else {
            throw TokenizerError.malformed(file: url.path, key: "", reason: "not valid UTF-8")
        }
        let hasVersion = data.starts(with: "#version".utf8)
        self.init(file: url.path) { "line \($0 + (hasVersion ? 2 : 1))" }
        try data.withUnsafeBytes { bytes in
            var rest = bytes[...]
            if hasVersion { _ = Self.popLine(&rest) }
            while let line = Self.popLine(&rest) { try appendSpaced { $0.append(contentsOf: line) } }
        }
    }

    /// The next line, without its end; nil after the last.
    private static func popLine(_ rest: inout Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer>? {
        if rest.isEmpty { return nil }
        let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
        defer { rest = rest[min(end + 1, rest.endIndex)...] }
        let line = rest[..<end]
        return line.last == UInt8(ascii: "\r") ? line.dropLast() : line
    }
}
