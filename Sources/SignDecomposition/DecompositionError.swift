import Foundation

/// What keeps a weight matrix from being decomposed or packed.
public enum DecompositionError: LocalizedError, Sendable, Equatable {
    /// The values do not fill the matrix.
    case wrongCount(expected: Int, found: Int)
    /// A value has no sign.
    case notANumber(row: Int, column: Int)
    /// A value cannot be approximated.
    case notFinite(row: Int, column: Int)
    /// A packed row has bits beyond its last column.
    case paddingNotZero(row: Int)
    /// An error in one tensor of a checkpoint.
    indirect case inTensor(directory: String, tensor: String, DecompositionError)

    public var errorDescription: String? {
        switch self {
        case .wrongCount(let expected, let found): "expected \(expected) values, found \(found)."
        case .notANumber(let row, let column): "row \(row), column \(column) is NaN; expected a number."
        case .notFinite(let row, let column): "row \(row), column \(column) is not finite."
        case .paddingNotZero(let row):
            "packed row \(row) has bits set beyond its last column; expected zeros. Packed with another bit order?"
        case .inTensor(let directory, let tensor, let error):
            "\(directory): tensor \"\(tensor)\": \(error.localizedDescription)"
        }
    }
}

/// Runs `body` with errors that name the checkpoint's tensor.
func naming<Result>(tensor: String, of directory: URL, _ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as DecompositionError {
        throw DecompositionError.inTensor(directory: directory.path, tensor: tensor, error)
    }
}
