import Foundation

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
            "\(file): the name \"\(name)\" stands there twice."
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
