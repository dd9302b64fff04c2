import Foundation
import LanguageModel

/// What the packed runtime refuses. What every back end refuses is a `LanguageModelError`.
public enum RuntimeError: LocalizedError, Sendable, Equatable {
    /// A linear layer with more inputs than exact 32-bit sums allow.
    case layerTooWide(directory: String, tensor: String, inputs: Int, maximum: Int)
    /// Heads of more channels than exact sums of 8-bit keys allow.
    case headTooWide(directory: String, channels: Int, maximum: Int)
    /// The system refused memory.
    case outOfMemory(bytes: Int)

    public var errorDescription: String? {
        switch self {
        case .layerTooWide(let directory, let tensor, let inputs, let maximum):
            "\(directory): tensor \"\(tensor)\" has \(inputs) inputs; at most \(maximum) can be summed exactly."
        case .headTooWide(let directory, let channels, let maximum):
            "\(directory): a head has \(channels) channels; keys and values in 8 bits may have at most \(maximum)."
        case .outOfMemory(let bytes):
            "The system has no \(bytes) bytes of memory to give."
        }
    }
}
