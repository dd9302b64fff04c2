import Foundation

/// What is wrong with a GGUF file. Every case names the file, and the key or tensor where there is one.
public enum GGUFError: LocalizedError, Sendable, Equatable {
    /// The first four bytes are others.
    case notGGUF(file: String, found: String)
    /// Numbers are stored most significant byte first.
    case bigEndian(file: String)
    /// A version of the format that is not read.
    case unsupportedVersion(file: String, found: UInt32)
    /// The file ends before something that it says it has.
    case truncated(file: String, place: String, neededBytes: UInt64, remainingBytes: Int)
    /// More of something than a model has.
    case tooMany(file: String, what: String, found: UInt64, limit: Int)
    /// Text that is not UTF-8.
    case notUTF8(file: String, place: String)
    /// A metadata value's type is none of the format's.
    case unknownValueType(file: String, place: String, found: UInt32)
    /// Two metadata values have the same key.
    case duplicateKey(file: String, key: String)
    /// Two tensors have the same name.
    case duplicateTensor(file: String, tensor: String)
    /// A key that is needed is not there.
    case missingKey(file: String, key: String)
    /// The value of a key is of another kind, or out of range.
    case wrongValue(file: String, key: String, expected: String, found: String)
    /// The value of a key asks for something that is not done here.
    case unsupportedValue(file: String, key: String, found: String, supported: String)
    /// An element type that is not read.
    case unsupportedTensorType(file: String, tensor: String, found: String)
    /// A tensor's shape is not one that its type can have, or its size does not fit in 64 bits.
    case badShape(file: String, tensor: String, type: String, shape: [UInt64])
    /// A tensor's data do not start at a multiple of the alignment.
    case misaligned(file: String, tensor: String, offset: UInt64, alignment: Int)
    /// A tensor's data leave the file: a truncated download, most often.
    case rangePastEnd(file: String, tensor: String, offset: UInt64, bytes: Int, dataBytes: Int)
    /// Two tensors share bytes.
    case overlap(file: String, tensor: String, other: String)
    /// A file of several, one of which is not there.
    case missingSplit(file: String, split: String)
    /// A value that a type cannot hold.
    case valueOutOfRange(file: String, tensor: String, index: Int, value: Float, type: String)

    public var errorDescription: String? {
        switch self {
        case .notGGUF(let file, let found):
            "\(file): not a GGUF file: it begins with \(found); expected \"GGUF\"."
        case .bigEndian(let file):
            "\(file): a big-endian GGUF file; only little-endian ones are read. Convert it with gguf_convert_endian.py."
        case .unsupportedVersion(let file, let found):
            "\(file): GGUF version \(found); this version of the program reads 2 and 3. Convert the model again."
        case .truncated(let file, let place, let needed, let remaining):
            "\(file): \(place) takes \(needed) bytes, and \(remaining) are left. "
                + "The file is truncated or damaged; download it again."
        case .tooMany(let file, let what, let found, let limit):
            "\(file): \(found) \(what); expected at most \(limit). The file is damaged; download it again."
        case .notUTF8(let file, let place):
            "\(file): \(place) is not UTF-8 text."
        case .unknownValueType(let file, let place, let found):
            "\(file): \(place) has the value type \(found); expected 0 to 12. The file is damaged; download it again."
        case .duplicateKey(let file, let key):
            "\(file): the metadata have \"\(key)\" twice."
        case .duplicateTensor(let file, let tensor):
            "\(file): tensor \"\(tensor)\" is there twice."
        case .missingKey(let file, let key):
            "\(file): the metadata have no \"\(key)\"."
        case .wrongValue(let file, let key, let expected, let found):
            "\(file): \"\(key)\": expected \(expected), found \(found)."
        case .unsupportedValue(let file, let key, let found, let supported):
            "\(file): \"\(key)\" is \(found), which is not supported; supported: \(supported)."
        case .unsupportedTensorType(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" has type \(found); expected one of "
                + GGUFTensorType.allCases.map(\.name).joined(separator: ", ") + "."
        case .badShape(let file, let tensor, let type, let shape):
            "\(file): tensor \"\(tensor)\": \(type) of shape \(shape.map(String.init).joined(separator: " × ")) "
                + "is no whole number of blocks, or too large."
        case .misaligned(let file, let tensor, let offset, let alignment):
            "\(file): tensor \"\(tensor)\" starts at \(offset), which is no multiple of the alignment, \(alignment)."
        case .rangePastEnd(let file, let tensor, let offset, let bytes, let dataBytes):
            "\(file): tensor \"\(tensor)\" takes \(bytes) bytes from \(offset) on, and there are \(dataBytes) data bytes. "
                + "The file is truncated; download it again."
        case .overlap(let file, let tensor, let other):
            "\(file): tensors \"\(other)\" and \"\(tensor)\" overlap."
        case .missingSplit(let file, let split):
            "\(file): a file of several, of which \(split) is not there. Download it too."
        case .valueOutOfRange(let file, let tensor, let index, let value, let type):
            "\(file): tensor \"\(tensor)\": element \(index) is \(value), which \(type) cannot hold. Write it as F32."
        }
    }
}
