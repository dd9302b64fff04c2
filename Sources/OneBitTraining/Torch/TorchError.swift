import CLibTorch
import Foundation

/// What libtorch refused, in its own words.
public struct TorchError: LocalizedError, Sendable, Hashable {
    /// The operation that failed.
    public let operation: String
    /// libtorch's message.
    public let message: String

    /// The calling thread's last failure.
    static func last(in operation: String) -> TorchError {
        TorchError(operation: operation, message: String(cString: lt_last_error()))
    }

    public var errorDescription: String? { "libtorch could not compute \(operation): \(message)" }
}

/// The result of a call that answers 0 for success.
func check(_ status: Int32, _ operation: String) throws {
    if status != 0 { throw TorchError.last(in: operation) }
}
