import Foundation

/// A writer was asked for something that its plan, or the element type, does not allow.
public enum CheckpointWriterError: LocalizedError, Sendable, Equatable {
    /// The plan has two tensors of one name.
    case duplicateTensor(file: String, tensor: String)
    /// The plan has a shape whose size does not fit in 64 bits.
    case sizeOverflow(file: String, tensor: String, shape: [Int])
    /// Another tensor is next in the plan; nil: the plan is done.
    case outOfOrder(file: String, expected: String?, found: String)
    /// More or fewer elements or bytes than planned.
    case wrongCount(file: String, tensor: String, expected: Int, found: Int)
    /// Floats for a tensor planned as integers.
    case notFloat(file: String, tensor: String, planned: ElementType)
    /// A value that the planned element type cannot hold.
    case valueOutOfRange(file: String, tensor: String, index: Int, value: Float, elementType: ElementType)
    /// `finish` before every tensor was written.
    case incomplete(file: String, missing: String)

    public var errorDescription: String? {
        switch self {
        case .duplicateTensor(let file, let tensor):
            "\(file): tensor \"\(tensor)\" is planned twice."
        case .sizeOverflow(let file, let tensor, let shape):
            "\(file): tensor \"\(tensor)\": the size of shape \(shape) does not fit in 64 bits."
        case .outOfOrder(let file, let expected, let found):
            "\(file): \(expected.map { "tensor \"\($0)\"" } ?? "nothing more") was to be written next, "
                + "found \"\(found)\"."
        case .wrongCount(let file, let tensor, let expected, let found):
            "\(file): tensor \"\(tensor)\" takes \(expected) elements, found \(found)."
        case .notFloat(let file, let tensor, let planned):
            "\(file): tensor \"\(tensor)\" is planned as \(planned.rawValue), found floats."
        case .valueOutOfRange(let file, let tensor, let index, let value, let elementType):
            "\(file): tensor \"\(tensor)\": element \(index) is \(value), which \(elementType.rawValue) cannot hold. "
                + "Write it as F32."
        case .incomplete(let file, let missing):
            "\(file): the tensor \"\(missing)\" was planned and never written."
        }
    }
}
