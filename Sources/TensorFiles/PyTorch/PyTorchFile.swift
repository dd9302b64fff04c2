import Foundation

/// A checkpoint that `torch.save` wrote from a model's `state_dict()`, memory-mapped: `pytorch_model.bin`.
///
/// The file is a zip archive: `data.pkl`, a pickle that describes the tensors, and their elements in entries `data/0`,
/// `data/1`, …, which are read where they are mapped. The pickle is read and never run, so a file from a stranger is no
/// more than data. Tensors may share a storage, as tied weights do. Views whose elements do not
/// lie one behind the other are refused, by name.
///
/// Source: `torch/serialization.py` of PyTorch 1.6 to 2.11.
public final class PyTorchFile: TensorFile {
    /// The tensors, and where they lie.
    public let contents: MappedTensors

    /// Maps a file, reads its description of the tensors and checks it against what is there.
    ///
    /// - Throws: ``PyTorchError`` or `FileError`.
    public convenience init(contentsOf url: URL) throws { try self.init(contentsOf: url, ignores: { _ in false }) }

    /// Maps a file, reads its description of the tensors and checks it against what is there.
    ///
    /// - Parameter ignores: names of tensors that are left out, whatever they are.
    /// - Throws: ``PyTorchError`` or `FileError`.
    init(contentsOf url: URL, ignores: (String) -> Bool) throws {
        let file = try MappedFile(path: url.path)
        // The pickle that PyTorch before 1.6 began a file with; a zip archive begins with "PK".
        if file.bytes.first == PickleOpcode.proto.rawValue { throw PyTorchError.legacyFormat(file: file.path) }
        let archive = try ZipArchive(file: file.path, bytes: file.bytes)
        // All entries lie in one folder: "archive", or the name that the file had.
        let pickles = archive.entries.filter { $0.key.split(separator: "/").dropFirst() == ["data.pkl"] }
        guard pickles.count == 1, let pickle = pickles.first else {
            throw PyTorchError.missingEntry(file: file.path, entry: "archive/data.pkl")
        }
        let folder = pickle.key.dropLast("data.pkl".count)
        if let range = archive.entries[folder + "byteorder"], file.bytes[range].elementsEqual("big".utf8) {
            throw PyTorchError.bigEndian(file: file.path)
        }
        var machine = try PickleMachine(
            file: file.path, bytes: UnsafeRawBufferPointer(rebasing: file.bytes[pickle.value]))
        let root = try machine.run()
        let tensors = StateDictionary(file: file.path, heap: machine.heap) { archive.entries[folder + $0] }
        contents = try tensors.contents(root, of: file, ignores: ignores)
    }
}

/// Validates what a pickle says of each tensor: a view of a storage, contiguous, inside an entry of the archive.
struct StateDictionary {
    let file: String
    let heap: PickleHeap
    /// Bytes of an entry, by its name in the archive's folder.
    let entry: (String) -> Range<Int>?

    /// Where the tensors of a state dictionary lie.
    ///
    /// - Throws: ``PyTorchError``.
    func contents(
        _ root: PickleValue, of mapped: MappedFile, ignores: (String) -> Bool
    ) throws -> MappedTensors {
        guard case .dictionary(let index) = root else {
            throw PyTorchError.notAStateDictionary(file: file, found: root.summary)
        }
        var descriptions: [String: TensorDescription] = [:]
        var ranges: [String: Range<Int>] = [:]
        for (key, value) in heap.dictionaries[index] {
            guard case .text(let name) = key else {
                throw PyTorchError.notAStateDictionary(file: file, found: "\(key.summary) as a name")
            }
            if ignores(name) { continue }
            guard case .tensor(let index) = value else {
                throw PyTorchError.notATensor(file: file, key: name, found: value.summary)
            }
            let (description, range) = try validate(heap.tensors[index], name: name)
            guard descriptions.updateValue(description, forKey: name) == nil else {
                throw PyTorchError.duplicateName(file: file, name: name)
            }
            ranges[name] = range
        }
        return MappedTensors(file: mapped, descriptions: descriptions, ranges: ranges)
    }

    private func validate(
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

    /// Whether elements lie one behind the other, the last index fastest. The stride of an extent of one has no meaning.
    ///
    /// The caller has checked that the product of the shape does not overflow.
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

/// What is wrong with a PyTorch checkpoint. Every case names the file, and the tensor where there is one.
public enum PyTorchError: LocalizedError, Sendable, Equatable {
    /// No zip archive ends where the file does: a truncated file, or none of this format.
    case notAnArchive(file: String, bytes: Int)
    /// The format that `torch.save` wrote before PyTorch 1.6.
    case legacyFormat(file: String)
    /// The archive contradicts itself; the reason says where.
    case malformedArchive(file: String, reason: String)
    /// An entry whose bytes cannot be read in place.
    case encodedEntry(file: String, entry: String, encoding: String)
    /// Two entries have the same name.
    case duplicateEntry(file: String, entry: String)
    /// Two entries share bytes.
    case overlappingEntries(file: String, entry: String, other: String)
    /// The archive lacks an entry that a checkpoint has.
    case missingEntry(file: String, entry: String)
    /// Written on a machine of the other byte order.
    case bigEndian(file: String)
    /// A part is larger than it could rightly be.
    case tooLarge(file: String, part: String, bytes: Int, limit: Int)

    /// The pickle contradicts itself; `offset` counts from its start.
    case malformedPickle(file: String, offset: Int, reason: String)
    /// An instruction that no checkpoint needs.
    case unsupportedInstruction(file: String, offset: Int, opcode: UInt8)
    /// The pickle asks for a Python function or class that a checkpoint has no use for: it may be an attack.
    case forbiddenGlobal(file: String, name: String)
    /// More objects than any checkpoint has.
    case tooManyObjects(file: String, limit: Int)

    /// The pickle holds something else than tensors by name.
    case notAStateDictionary(file: String, found: String)
    /// An entry of the state dictionary is no tensor.
    case notATensor(file: String, key: String, found: String)
    /// Two tensors have the same name.
    case duplicateName(file: String, name: String)
    /// A tensor is described by something else than a storage, an offset, a shape and strides.
    case malformedTensor(file: String, tensor: String, reason: String)
    /// An element type that language-model checkpoints do not use.
    case unsupportedElementType(file: String, tensor: String, found: String)
    /// The product of the shape does not fit in 64 bits.
    case sizeOverflow(file: String, tensor: String, shape: [Int])
    /// The elements do not lie one behind the other: a transposed or expanded view.
    case notContiguous(file: String, tensor: String, shape: [Int], strides: [Int])
    /// The tensor ends after its storage does.
    case tensorPastStorage(file: String, tensor: String, end: Int, storageBytes: Int)
    /// The storage's entry has not as many bytes as the pickle says.
    case storageDisagreesWithEntry(file: String, tensor: String, entry: String, expectedBytes: Int, foundBytes: Int)

    public var errorDescription: String? {
        switch self {
        case .notAnArchive(let file, let bytes):
            "\(file): \(bytes) bytes, and no zip archive ends there. "
                + "It is truncated, or not a PyTorch checkpoint; fetch it again."
        case .legacyFormat(let file):
            "\(file): written by a PyTorch older than 1.6. Save it once more with a newer one: "
                + "torch.save(torch.load(path, weights_only=True), path)."
        case .malformedArchive(let file, let reason):
            "\(file): the zip archive is damaged: \(reason)."
        case .encodedEntry(let file, let entry, let encoding):
            "\(file): the entry \"\(entry)\" is \(encoding); torch.save stores entries as they are. "
                + "Save it once more with PyTorch."
        case .duplicateEntry(let file, let entry):
            "\(file): the zip archive has two entries \"\(entry)\"."
        case .overlappingEntries(let file, let entry, let other):
            "\(file): the zip archive's entries \"\(other)\" and \"\(entry)\" overlap."
        case .missingEntry(let file, let entry):
            "\(file): the zip archive has no entry \"\(entry)\". Not a PyTorch checkpoint?"
        case .bigEndian(let file):
            "\(file): written big-endian; expected little-endian. Save it once more on another machine."
        case .tooLarge(let file, let part, let bytes, let limit):
            "\(file): \(part) takes \(bytes) bytes; expected at most \(limit)."
        case .malformedPickle(let file, let offset, let reason):
            "\(file): data.pkl is damaged at byte \(offset): \(reason)."
        case .unsupportedInstruction(let file, let offset, let opcode):
            "\(file): data.pkl has the instruction 0x\(String(opcode, radix: 16)) at byte \(offset), "
                + "which no state dictionary needs. Save the model's state_dict() alone."
        case .forbiddenGlobal(let file, let name):
            "\(file): data.pkl asks for \(name), which no state dictionary needs. Nothing was run. "
                + "Don't trust the file, or save the model's state_dict() alone."
        case .tooManyObjects(let file, let limit):
            "\(file): data.pkl makes more than \(limit) objects. Not a state dictionary?"
        case .notAStateDictionary(let file, let found):
            "\(file): expected a dictionary of tensors by name, found \(found)."
        case .notATensor(let file, let key, let found):
            "\(file): \"\(key)\" is \(found); expected a tensor. Save the model's state_dict() alone."
        case .duplicateName(let file, let name):
            "\(file): the name \"\(name)\" occurs twice."
        case .malformedTensor(let file, let tensor, let reason):
            "\(file): tensor \"\(tensor)\": \(reason)."
        case .unsupportedElementType(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" has its elements in a \(found); expected one of "
                + "\(StorageType.supported.joined(separator: ", "))."
        case .sizeOverflow(let file, let tensor, let shape):
            "\(file): tensor \"\(tensor)\": the size of shape \(shape) does not fit in 64 bits."
        case .notContiguous(let file, let tensor, let shape, let strides):
            "\(file): tensor \"\(tensor)\" of shape \(shape) is a view with strides \(strides). "
                + "Save it once more after .contiguous()."
        case .tensorPastStorage(let file, let tensor, let end, let bytes):
            "\(file): tensor \"\(tensor)\" ends at byte \(end) of a storage of \(bytes) bytes."
        case .storageDisagreesWithEntry(let file, let tensor, let entry, let expected, let found):
            "\(file): tensor \"\(tensor)\": its storage takes \(expected) bytes, the entry \"\(entry)\" has \(found)."
        }
    }
}
