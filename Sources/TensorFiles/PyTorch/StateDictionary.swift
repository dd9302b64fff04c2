/// Judges what a pickle says of each tensor: a view of a storage, contiguous, inside an entry of the archive.
struct StateDictionary {
    let file: String
    let heap: PickleHeap
    /// Bytes of an entry, by its name in the archive's folder.
    let entry: (String) -> Range<Int>?

    /// Where the tensors of a state dictionary lie.
    ///
    /// - Throws: ``PyTorchError``.
    func contents(_ root: PickleValue, of mapped: MappedFile) throws -> MappedTensors {
        guard case .dictionary(let index) = root else {
            throw PyTorchError.notAStateDictionary(file: file, found: root.summary)
        }
        var descriptions: [String: TensorDescription] = [:]
        var ranges: [String: Range<Int>] = [:]
        for (key, value) in heap.dictionaries[index] {
            guard case .text(let name) = key else {
                throw PyTorchError.notAStateDictionary(file: file, found: "\(key.summary) as a name")
            }
            guard case .tensor(let place) = value else {
                throw PyTorchError.notATensor(file: file, key: name, found: value.summary)
            }
            let (description, range) = try judge(heap.tensors[place], name: name)
            guard descriptions.updateValue(description, forKey: name) == nil else {
                throw PyTorchError.duplicateName(file: file, name: name)
            }
            ranges[name] = range
        }
        return MappedTensors(file: mapped, descriptions: descriptions, ranges: ranges)
    }

    private func judge(
        _ tensor: PickledTensor, name: String
    ) throws -> (description: TensorDescription, range: Range<Int>) {
        let type = tensor.storage.type
        guard let elementType = type.elementType else {
            throw PyTorchError.unsupportedElementType(file: file, tensor: name, found: type.rawValue)
        }
        guard tensor.offset >= 0, tensor.shape.allSatisfy({ $0 >= 0 }), tensor.strides.count == tensor.shape.count
        else {
            throw PyTorchError.malformedTensor(
                file: file, tensor: name,
                reason: "offset \(tensor.offset), shape \(tensor.shape), strides \(tensor.strides)")
        }
        let description = TensorDescription(name: name, elementType: elementType, shape: tensor.shape)
        guard let byteCount = description.checkedByteCount else {
            throw PyTorchError.sizeOverflow(file: file, tensor: name, shape: tensor.shape)
        }
        guard Self.isContiguous(tensor) else {
            throw PyTorchError.notContiguous(file: file, tensor: name, shape: tensor.shape, strides: tensor.strides)
        }
        let storage = try bytes(of: tensor.storage, elementType, tensor: name)
        let (start, startOverflow) = tensor.offset.multipliedReportingOverflow(by: elementType.byteWidth)
        let (end, endOverflow) = start.addingReportingOverflow(byteCount)
        guard !startOverflow, !endOverflow, end <= storage.count else {
            throw PyTorchError.tensorPastStorage(
                file: file, tensor: name, end: startOverflow || endOverflow ? .max : end, storageBytes: storage.count)
        }
        return (description, storage.lowerBound + start..<storage.lowerBound + end)
    }

    /// The archive's entry of a storage, if it is as long as the pickle says.
    private func bytes(
        of storage: PickledStorage, _ elementType: ElementType, tensor: String
    ) throws -> Range<Int> {
        let name = "data/\(storage.key)"
        guard let range = entry(name) else { throw PyTorchError.missingEntry(file: file, entry: name) }
        let (byteCount, overflow) = storage.elementCount.multipliedReportingOverflow(by: elementType.byteWidth)
        guard !overflow, byteCount == range.count else {
            throw PyTorchError.storageDisagreesWithEntry(
                file: file, tensor: tensor, entry: name, expectedBytes: overflow ? .max : byteCount,
                foundBytes: range.count)
        }
        return range
    }

    /// Whether elements lie one behind the other, the last index fastest. The stride of an extent of one says nothing.
    ///
    /// The caller has seen to it that the product of the shape is no overflow.
    private static func isContiguous(_ tensor: PickledTensor) -> Bool {
        guard !tensor.shape.contains(0) else { return true }
        var expected = 1
        for (extent, stride) in zip(tensor.shape, tensor.strides).reversed() where extent != 1 {
            guard stride == expected else { return false }
            expected *= extent
        }
        return true
    }
}
