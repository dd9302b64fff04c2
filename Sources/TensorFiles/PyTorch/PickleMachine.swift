/// Reads a pickle without running it.
///
/// A pickle is a program for a stack machine whose instructions make values and call Python functions. This machine has
/// the instructions that make values, and knows by name the few functions that a state dictionary is written with
/// (``PickleGlobal``); whatever else a program asks for ends it. Every instruction takes at least one byte of the pickle
/// and there are no jumps, so it ends, and what it makes is bounded by ``objectLimit``.
struct PickleMachine {
    /// Bytes of pickle; a tensor takes about 200.
    static let byteLimit = 8 << 20
    /// Containers, values on the stack and names; a tensor takes seven containers and ten names.
    static let objectLimit = 1 << 18
    /// Language models have tensors of one or two.
    static let dimensionLimit = 8

    let file: String
    var heap = PickleHeap()
    private(set) var stack: [PickleValue] = []
    private var cursor: PickleCursor
    /// Heights of the stack.
    private var marks: [Int] = []
    private var memo: [UInt32: PickleValue] = [:]

    /// - Throws: ``PyTorchError/tooLarge(file:part:bytes:limit:)``.
    init(file: String, bytes: UnsafeRawBufferPointer) throws {
        guard bytes.count <= Self.byteLimit else {
            throw PyTorchError.tooLarge(file: file, part: "data.pkl", bytes: bytes.count, limit: Self.byteLimit)
        }
        self.file = file
        cursor = PickleCursor(file: file, bytes: bytes)
    }

    /// Reads to the end, and returns the value that the pickle is of.
    ///
    /// - Throws: ``PyTorchError``.
    mutating func run() throws -> PickleValue {
        while true {
            let code = try cursor.byte()
            guard let opcode = PickleOpcode(rawValue: code) else {
                throw PyTorchError.unsupportedInstruction(file: file, offset: cursor.position - 1, opcode: code)
            }
            if opcode == .stop { return try pop() }
            try perform(opcode)
            guard heap.count <= Self.objectLimit, stack.count <= Self.objectLimit, marks.count <= Self.objectLimit,
                memo.count <= Self.objectLimit
            else { throw PyTorchError.tooManyObjects(file: file, limit: Self.objectLimit) }
        }
    }

    private mutating func perform(_ opcode: PickleOpcode) throws {
        switch opcode {
        case .stop: break
        case .proto:
            let version = try cursor.byte()
            guard version <= 5 else { throw malformed("protocol \(version); expected at most 5") }
        case .frame: _ = try cursor.take(8)

        case .none: push(.none)
        case .newTrue: push(.boolean(true))
        case .newFalse: push(.boolean(false))
        case .binInt: push(.integer(Int(try cursor.littleEndian(Int32.self))))
        case .binInt1: push(.integer(Int(try cursor.byte())))
        case .binInt2: push(.integer(Int(try cursor.littleEndian(UInt16.self))))
        case .long1: push(.integer(try cursor.long()))
        case .binFloat: push(.number(try cursor.bigEndianDouble()))
        case .binUnicode: push(.text(try cursor.text(UInt32.self)))
        case .shortBinUnicode: push(.text(try cursor.text(UInt8.self)))
        case .binUnicode8: push(.text(try cursor.text(UInt64.self)))

        case .mark: marks.append(stack.count)
        case .emptyTuple: pushTuple([])
        case .tuple1: pushTuple(try pop(1))
        case .tuple2: pushTuple(try pop(2))
        case .tuple3: pushTuple(try pop(3))
        case .tuple: pushTuple(try popToMark())
        case .emptyList:
            heap.lists.append([])
            push(.list(heap.lists.count - 1))
        case .append: try appendToList(pop(1))
        case .appends: try appendToList(popToMark())
        case .emptyDict: pushDictionary()
        case .setItem: try setItems(pop(2))
        case .setItems: try setItems(popToMark())

        case .binPut: memo[UInt32(try cursor.byte())] = try top()
        case .longBinPut: memo[try cursor.littleEndian(UInt32.self)] = try top()
        case .memoize: memo[UInt32(memo.count)] = try top()
        case .binGet: try recall(UInt32(cursor.byte()))
        case .longBinGet: try recall(cursor.littleEndian(UInt32.self))

        case .global: try pushGlobal(module: cursor.line(), name: cursor.line())
        case .stackGlobal:
            let names = try pop(2)
            guard case .text(let module) = names[0], case .text(let name) = names[1] else {
                throw malformed("a function's name is \(names[0].summary) and \(names[1].summary)")
            }
            try pushGlobal(module: module, name: name)
        case .reduce:
            let operands = try pop(2)
            push(try call(operands[0], arguments: operands[1]))
        case .build:
            // Attributes of a dictionary, versions of modules in `_metadata`: nothing to load.
            _ = try pop()
            guard case .dictionary = try top() else { throw malformed("attributes for \(try top().summary)") }
        case .binPersId: push(try persistent(pop()))
        }
    }

    // MARK: - Stack

    mutating func push(_ value: PickleValue) { stack.append(value) }

    mutating func pushDictionary() {
        heap.dictionaries.append([])
        push(.dictionary(heap.dictionaries.count - 1))
    }

    private mutating func pushTuple(_ elements: [PickleValue]) {
        heap.tuples.append(elements)
        push(.tuple(heap.tuples.count - 1))
    }

    private mutating func pushGlobal(module: String, name: String) throws {
        guard let global = PickleGlobal(module: module, name: name) else {
            throw PyTorchError.forbiddenGlobal(file: file, name: "\(module).\(name)")
        }
        push(.global(global))
    }

    private mutating func recall(_ number: UInt32) throws {
        guard let value = memo[number] else { throw malformed("no value has the number \(number)") }
        push(value)
    }

    /// The last value, which must be above the last mark.
    private func top() throws -> PickleValue {
        guard stack.count > marks.last ?? 0, let value = stack.last else { throw malformed("the stack is empty") }
        return value
    }

    private mutating func pop() throws -> PickleValue {
        let value = try top()
        stack.removeLast()
        return value
    }

    private mutating func pop(_ count: Int) throws -> [PickleValue] {
        guard stack.count - (marks.last ?? 0) >= count else { throw malformed("the stack is empty") }
        defer { stack.removeLast(count) }
        return Array(stack.suffix(count))
    }

    private mutating func popToMark() throws -> [PickleValue] {
        guard let mark = marks.popLast() else { throw malformed("no mark is set") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[mark...])
    }

    // MARK: - Containers

    private mutating func appendToList(_ values: [PickleValue]) throws {
        guard case .list(let index) = try top() else { throw malformed("elements for \(try top().summary)") }
        heap.lists[index] += values
    }

    private mutating func setItems(_ values: [PickleValue]) throws {
        guard case .dictionary(let index) = try top() else { throw malformed("items for \(try top().summary)") }
        guard values.count % 2 == 0 else { throw malformed("a key without a value") }
        for place in stride(from: 0, to: values.count, by: 2) {
            heap.dictionaries[index].append((values[place], values[place + 1]))
        }
    }

    func malformed(_ reason: String) -> PyTorchError { cursor.malformed(reason) }
}

extension PickleMachine {
    /// What a function of the allow-list returns.
    mutating func call(_ function: PickleValue, arguments: PickleValue) throws -> PickleValue {
        guard case .global(let global) = function, case .tuple(let index) = arguments else {
            throw malformed("a call of \(function.summary) with \(arguments.summary)")
        }
        let arguments = heap.tuples[index]
        switch global {
        case .orderedDictionary:
            guard arguments.isEmpty else { throw malformed("\(global) with \(arguments.count) arguments") }
            heap.dictionaries.append([])
            return .dictionary(heap.dictionaries.count - 1)
        case .rebuildTensor:
            heap.tensors.append(try tensor(arguments))
            return .tensor(heap.tensors.count - 1)
        case .rebuildParameter:
            guard let tensor = arguments.first, case .tensor = tensor else {
                throw malformed("\(global) of \(arguments.first?.summary ?? "nothing")")
            }
            return tensor
        case .storage:
            throw malformed("a call of \(global)")
        }
    }

    /// The storage that an id `("storage", class, key, device, element count)` stands for.
    mutating func persistent(_ id: PickleValue) throws -> PickleValue {
        guard case .tuple(let index) = id, heap.tuples[index].count == 5 else {
            throw malformed("\(id.summary) as the id of a storage")
        }
        let parts = heap.tuples[index]
        guard parts[0] == .text("storage"), case .global(.storage(let type)) = parts[1], case .text(let key) = parts[2],
            case .integer(let elementCount) = parts[4], elementCount >= 0
        else {
            throw malformed("the id of a storage is (\(parts.map(\.summary).joined(separator: ", ")))")
        }
        heap.storages.append(PickledStorage(type: type, key: key, elementCount: elementCount))
        return .storage(heap.storages.count - 1)
    }

    private func tensor(_ arguments: [PickleValue]) throws -> PickledTensor {
        guard arguments.count == 6 || arguments.count == 7, case .storage(let storage) = arguments[0],
            case .integer(let offset) = arguments[1], let shape = integers(arguments[2]),
            let strides = integers(arguments[3])
        else {
            throw malformed("a tensor of (\(arguments.prefix(7).map(\.summary).joined(separator: ", ")))")
        }
        if arguments.count == 7 {
            // Bits that change the values' meaning: conjugate, negative.
            guard case .dictionary(let metadata) = arguments[6], heap.dictionaries[metadata].isEmpty else {
                throw malformed("a tensor with metadata")
            }
        }
        return PickledTensor(storage: heap.storages[storage], offset: offset, shape: shape, strides: strides)
    }

    /// A tuple of integers, of no more than a tensor has dimensions: any number of tensors can name one tuple.
    private func integers(_ value: PickleValue) -> [Int]? {
        guard case .tuple(let index) = value, heap.tuples[index].count <= Self.dimensionLimit else { return nil }
        var integers: [Int] = []
        for element in heap.tuples[index] {
            guard case .integer(let integer) = element else { return nil }
            integers.append(integer)
        }
        return integers
    }
}
