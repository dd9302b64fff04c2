import Foundation

/// A zip archive laid out as `torch.save` does it, right or wrong: what the hostile tests change.
struct PyTorchArchive {
    struct Entry {
        var name: String
        var bytes: [UInt8]
        var method: UInt16 = 0
        var flags: UInt16 = 0
        /// What the directory says of it; as it is, unless a test lies.
        var statedSize: UInt64?
        var statedStoredSize: UInt64?
        var statedOffset: UInt64?
        var headerName: String?
        var comment: [UInt8] = []
    }

    var entries: [Entry] = []
    /// Whether sizes stand in 64-bit fields.
    var isWide = false
    var statedCount: UInt64?
    var statedDirectorySize: UInt64?
    var statedDirectoryOffset: UInt64?
    var archiveComment: [UInt8] = []

    /// One float tensor "weight" [2] of the elements 1 and 2, described by the given pickle.
    init(pickle: [UInt8]? = nil) {
        let elements: [UInt8] = [0, 0, 128, 63, 0, 0, 0, 64]
        entries = [
            Entry(name: "archive/data.pkl", bytes: pickle ?? Pickle.stateDictionary()),
            Entry(name: "archive/byteorder", bytes: Array("little".utf8)),
            Entry(name: "archive/data/0", bytes: elements),
            Entry(name: "archive/version", bytes: Array("3\n".utf8)),
        ]
    }

    var data: Data {
        var file: [UInt8] = []
        var directory: [UInt8] = []
        for entry in entries {
            let offset = UInt64(file.count)
            let headerName = Array((entry.headerName ?? entry.name).utf8)
            file += [0x50, 0x4B, 3, 4] + little(UInt16(0)) + little(entry.flags) + little(entry.method)
            file += [UInt8](repeating: 0, count: 16) + little(UInt16(headerName.count)) + little(UInt16(0))
            file += headerName + entry.bytes

            let name = Array(entry.name.utf8)
            let numbers = [
                entry.statedSize ?? UInt64(entry.bytes.count), entry.statedStoredSize ?? UInt64(entry.bytes.count),
                entry.statedOffset ?? offset,
            ]
            let extra = isWide ? little(UInt16(1)) + little(UInt16(24)) + numbers.flatMap { little($0) } : []
            let narrow = numbers.map { isWide ? UInt32.max : UInt32(truncatingIfNeeded: $0) }
            directory += [0x50, 0x4B, 1, 2] + little(UInt32(0)) + little(entry.flags) + little(entry.method)
            directory += [UInt8](repeating: 0, count: 8) + little(narrow[1]) + little(narrow[0])
            directory += little(UInt16(name.count)) + little(UInt16(extra.count))
            directory += little(UInt16(entry.comment.count)) + [UInt8](repeating: 0, count: 8) + little(narrow[2])
            directory += name + extra + entry.comment
        }
        let directoryOffset = statedDirectoryOffset ?? UInt64(file.count)
        let directorySize = statedDirectorySize ?? UInt64(directory.count)
        let count = statedCount ?? UInt64(entries.count)
        file += directory
        if isWide {
            let record = UInt64(file.count)
            file += [0x50, 0x4B, 6, 6] + little(UInt64(44)) + [UInt8](repeating: 0, count: 12) + little(count)
            file += little(count) + little(directorySize) + little(directoryOffset)
            file += [0x50, 0x4B, 6, 7] + little(UInt32(0)) + little(record) + little(UInt32(1))
        }
        file += [0x50, 0x4B, 5, 6] + little(UInt32(0))
        file += little(UInt16(truncatingIfNeeded: count)) + little(UInt16(truncatingIfNeeded: count))
        file += little(UInt32(truncatingIfNeeded: directorySize))
        file += little(UInt32(truncatingIfNeeded: directoryOffset))
        return Data(file + little(UInt16(archiveComment.count)) + archiveComment)
    }
}

/// The little-endian bytes of a number.
func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian, Array.init)
}

/// Pickles by hand.
enum Pickle {
    static let end: [UInt8] = Array(".".utf8)

    static func global(_ module: String, _ name: String) -> [UInt8] { Array("c\(module)\n\(name)\n".utf8) }

    static func text(_ text: String) -> [UInt8] { [0x58] + little(UInt32(text.utf8.count)) + Array(text.utf8) }

    static func integer(_ value: Int) -> [UInt8] { [0x8A, 8] + little(Int64(value)) }

    static func tuple(_ elements: [UInt8]...) -> [UInt8] { [0x28] + elements.joined() + [0x74] }

    static func integers(_ values: [Int]) -> [UInt8] { [0x28] + values.flatMap(integer) + [0x74] }

    static func dictionary(_ items: [UInt8]...) -> [UInt8] { [0x7D, 0x28] + items.joined() + [0x75] }

    static let hooks: [UInt8] = global("collections", "OrderedDict") + [0x29, 0x52]

    static func storage(_ type: String = "FloatStorage", key: String = "0", count: Int = 2) -> [UInt8] {
        tuple(text("storage"), global("torch", type), text(key), text("cpu"), integer(count)) + [0x51]
    }

    static func tensor(
        storage: [UInt8] = storage(), offset: Int = 0, shape: [Int] = [2], strides: [Int] = [1], metadata: [UInt8] = []
    ) -> [UInt8] {
        global("torch._utils", "_rebuild_tensor_v2")
            + tuple(storage, integer(offset), integers(shape), integers(strides), [0x89], hooks, metadata) + [0x52]
    }

    static func stateDictionary(_ tensor: [UInt8] = tensor()) -> [UInt8] {
        [0x80, 2] + dictionary(text("weight"), tensor) + end
    }
}
