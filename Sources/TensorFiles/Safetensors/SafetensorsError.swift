import Foundation

/// What is wrong with a safetensors file. Every case names the file, and the tensor where there is one.
public enum SafetensorsError: LocalizedError, Sendable, Equatable {
    /// Too short for the eight bytes that give the header's length.
    case truncated(file: String, bytes: Int)
    /// The header would end after the file does: a truncated file, or none of this format.
    case headerPastEnd(file: String, headerBytes: UInt64, fileBytes: Int)
    /// Longer than the format allows.
    case headerTooLarge(file: String, headerBytes: UInt64, limit: Int)
    /// The header is no JSON object; the reason says where.
    case malformedHeader(file: String, reason: String)
    /// Two entries of the header have the same name.
    case duplicateName(file: String, name: String)
    /// An entry of the header is not what the format asks for.
    case malformedEntry(file: String, tensor: String, expected: String, found: String)
    /// An element type that language-model checkpoints do not use.
    case unsupportedElementType(file: String, tensor: String, found: String)
    /// The product of the shape does not fit in 64 bits.
    case sizeOverflow(file: String, tensor: String, shape: [Int])
    /// The byte range is not as long as the shape asks.
    case rangeDisagreesWithShape(file: String, tensor: String, expectedBytes: Int, foundBytes: Int)
    /// The byte range leaves the file: a truncated download, most often.
    case rangePastEnd(file: String, tensor: String, end: Int, dataBytes: Int)
    /// Two tensors share bytes.
    case overlap(file: String, tensor: String, other: String)
    /// Bytes that belong to no tensor.
    case hole(file: String, begin: Int, end: Int)

    public var errorDescription: String? {
        switch self {
        case .truncated(let file, let bytes):
            "\(file): \(bytes) bytes; a safetensors file has at least 8. Fetch it again."
        case .headerPastEnd(let file, let header, let bytes):
            "\(file): the header is said to take \(header) bytes, the file has \(bytes). "
                + "It is truncated, or not a safetensors file; fetch it again."
        case .headerTooLarge(let file, let header, let limit):
            "\(file): the header is said to take \(header) bytes; expected at most \(limit). Not a safetensors file?"
        case .malformedHeader(let file, let reason):
            "\(file): the header is damaged: \(reason)."
        case .duplicateName(let file, let name):
            "\(file): the header names \"\(name)\" twice."
        case .malformedEntry(let file, let tensor, let expected, let found):
            "\(file): header entry \"\(tensor)\": expected \(expected), found \(found)."
        case .unsupportedElementType(let file, let tensor, let found):
            "\(file): tensor \"\(tensor)\" has element type \(found); expected one of "
                + ElementType.allCases.map(\.rawValue).joined(separator: ", ") + "."
        case .sizeOverflow(let file, let tensor, let shape):
            "\(file): tensor \"\(tensor)\": the size of shape \(shape) does not fit in 64 bits."
        case .rangeDisagreesWithShape(let file, let tensor, let expected, let found):
            "\(file): tensor \"\(tensor)\": its shape takes \(expected) bytes, its data_offsets span \(found)."
        case .rangePastEnd(let file, let tensor, let end, let bytes):
            "\(file): tensor \"\(tensor)\" ends at byte \(end) of \(bytes) data bytes. "
                + "The file is truncated; fetch it again."
        case .overlap(let file, let tensor, let other):
            "\(file): tensors \"\(other)\" and \"\(tensor)\" overlap."
        case .hole(let file, let begin, let end):
            "\(file): data bytes \(begin) to \(end) belong to no tensor."
        }
    }
}
