/// A value of a pickle.
///
/// Containers are indices into a ``PickleHeap``: a pickle shares and nests them as it likes, to any depth and in circles, and
/// values that held each other would follow it there.
enum PickleValue: Equatable {
    case none
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case text(String)
    case global(PickleGlobal)
    case tuple(Int)
    case list(Int)
    case dictionary(Int)
    case storage(Int)
    case tensor(Int)

    /// What it is, for messages.
    var summary: String {
        switch self {
        case .none: "None"
        case .boolean(let value): value ? "True" : "False"
        case .integer(let value): "the integer \(value)"
        case .number(let value): "the number \(value)"
        case .text: "a text"
        case .global(let global): "\(global)"
        case .tuple: "a tuple"
        case .list: "a list"
        case .dictionary: "a dictionary"
        case .storage: "a storage"
        case .tensor: "a tensor"
        }
    }
}

/// The containers of a pickle, by the indices that its values hold.
struct PickleHeap {
    var tuples: [[PickleValue]] = []
    var lists: [[PickleValue]] = []
    /// Keys and values as they were set, in order; a key may come twice.
    var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
    var storages: [PickledStorage] = []
    var tensors: [PickledTensor] = []

    /// How many containers there are.
    var count: Int { tuples.count + lists.count + dictionaries.count + storages.count + tensors.count }
}

/// A run of elements that tensors are views of: an entry `data/<key>` of the archive.
struct PickledStorage {
    let type: StorageType
    let key: String
    let elementCount: Int
}

/// A view of a storage, as stated. Not yet validated: that needs the tensor's name, which comes later.
struct PickledTensor {
    let storage: PickledStorage
    /// In elements.
    let offset: Int
    let shape: [Int]
    /// In elements.
    let strides: [Int]
}

/// The Python functions and classes that a state dictionary is made of. There are no others: a pickle that names one
/// is refused, and none is ever called; the reader does itself what these stand for.
enum PickleGlobal: Equatable, CustomStringConvertible {
    /// `collections.OrderedDict()`: an empty dictionary.
    case orderedDictionary
    /// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`.
    case rebuildTensor
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`: the tensor.
    case rebuildParameter
    /// `torch.FloatStorage` and so on: the element type of a storage.
    case storage(StorageType)

    /// The global of a name; nil when it is none of these.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch", _):
            guard let type = StorageType(rawValue: name) else { return nil }
            self = .storage(type)
        default: return nil
        }
    }

    var description: String {
        switch self {
        case .orderedDictionary: "collections.OrderedDict"
        case .rebuildTensor: "torch._utils._rebuild_tensor_v2"
        case .rebuildParameter: "torch._utils._rebuild_parameter"
        case .storage(let type): "torch.\(type.rawValue)"
        }
    }
}

/// PyTorch's storage classes, which give a tensor its element type.
enum StorageType: String, CaseIterable {
    case float = "FloatStorage"
    case half = "HalfStorage"
    case bfloat16 = "BFloat16Storage"
    case char = "CharStorage"
    case byte = "ByteStorage"
    case int = "IntStorage"
    case long = "LongStorage"
    case double = "DoubleStorage"
    case short = "ShortStorage"
    case bool = "BoolStorage"

    /// Nil for those that no language-model checkpoint uses.
    var elementType: ElementType? {
        switch self {
        case .float: .float32
        case .half: .float16
        case .bfloat16: .bfloat16
        case .char: .int8
        case .byte: .uint8
        case .int: .int32
        case .long: .int64
        case .double, .short, .bool: nil
        }
    }

    static var supported: [String] { allCases.filter { $0.elementType != nil }.map(\.rawValue) }
}

/// The instructions of Python's pickle machine that a state dictionary is written with, protocols 2 to 5.
///
/// Names as in Python's `pickletools`. The rest, among them all that make objects of classes, are refused.
enum PickleOpcode: UInt8 {
    /// Version of the protocol, one byte.
    case proto = 0x80
    /// Length of what follows, eight bytes; a hint for readers of streams.
    case frame = 0x95
    /// The result is on the stack.
    case stop = 0x2E

    case none = 0x4E
    case newTrue = 0x88
    case newFalse = 0x89
    /// Four bytes, signed.
    case binInt = 0x4A
    /// One byte, unsigned.
    case binInt1 = 0x4B
    /// Two bytes, unsigned.
    case binInt2 = 0x4D
    /// One byte of length, then as many of a two's complement number.
    case long1 = 0x8A
    /// Eight bytes, big-endian.
    case binFloat = 0x47
    /// UTF-8 behind a length of four bytes.
    case binUnicode = 0x58
    /// UTF-8 behind a length of one byte.
    case shortBinUnicode = 0x8C
    /// UTF-8 behind a length of eight bytes.
    case binUnicode8 = 0x8D

    /// Marks the height of the stack from which the next of `tuple`, `appends`, `setItems` takes.
    case mark = 0x28
    case emptyTuple = 0x29
    case tuple1 = 0x85
    case tuple2 = 0x86
    case tuple3 = 0x87
    case tuple = 0x74
    case emptyList = 0x5D
    case append = 0x61
    case appends = 0x65
    case emptyDict = 0x7D
    case setItem = 0x73
    case setItems = 0x75

    /// Names the top of the stack by a number of one byte.
    case binPut = 0x71
    /// The same by a number of four bytes.
    case longBinPut = 0x72
    /// The same by the number of names so far.
    case memoize = 0x94
    /// Pushes what has a number of one byte.
    case binGet = 0x68
    /// Pushes what has a number of four bytes.
    case longBinGet = 0x6A

    /// A function or class: module and name, a line each.
    case global = 0x63
    /// The same, module and name from the stack.
    case stackGlobal = 0x93
    /// Calls a function with a tuple of arguments.
    case reduce = 0x52
    /// Gives an object its attributes.
    case build = 0x62
    /// Something outside the pickle, a storage, by its id from the stack.
    case binPersId = 0x51
}

/// Reads a pickle's operands one after another, and nothing outside it.
struct PickleCursor {
    private(set) var position = 0
    private let file: String
    private let bytes: UnsafeRawBufferPointer

    init(file: String, bytes: UnsafeRawBufferPointer) {
        self.file = file
        self.bytes = bytes
    }

    /// The next `count` bytes.
    mutating func take(_ count: Int) throws -> Slice<UnsafeRawBufferPointer> {
        guard count <= bytes.count - position else { throw malformed("it ends too early") }
        defer { position += count }
        return bytes[position..<position + count]
    }

    mutating func byte() throws -> UInt8 { try take(1)[position - 1] }

    mutating func littleEndian<Number: FixedWidthInteger>(_ type: Number.Type) throws -> Number {
        let slice = try take(MemoryLayout<Number>.size)
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: slice.startIndex, as: type))
    }

    mutating func bigEndianDouble() throws -> Double {
        Double(bitPattern: UInt64(bigEndian: UInt64(littleEndian: try littleEndian(UInt64.self))))
    }

    /// UTF-8 behind a length of the given type.
    mutating func text<Length: FixedWidthInteger & UnsignedInteger>(_ length: Length.Type) throws -> String {
        guard let count = Int(exactly: try littleEndian(length)) else { throw malformed("it ends too early") }
        return try text(take(count))
    }

    /// UTF-8 up to the end of a line.
    mutating func line() throws -> String {
        guard let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) else {
            throw malformed("a line does not end")
        }
        let text = try text(take(end - position))
        position += 1
        return text
    }

    /// A two's complement number behind a byte of length.
    mutating func long() throws -> Int {
        let slice = try take(Int(byte()))
        guard slice.count <= 8 else { throw malformed("an integer of \(slice.count) bytes; expected at most 8") }
        guard let last = slice.last else { return 0 }
        // The sign first, then byte after byte from the most significant.
        return slice.reversed().reduce(last < 0x80 ? 0 : -1) { $0 << 8 | Int($1) }
    }

    func malformed(_ reason: String) -> PyTorchError {
        .malformedPickle(file: file, offset: position, reason: reason)
    }

    private func text(_ slice: Slice<UnsafeRawBufferPointer>) throws -> String {
        guard let text = String(validating: slice, as: UTF8.self) else { throw malformed("a text is not UTF-8") }
        return text
    }
}
