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
