import Foundation

/// An item that a model cannot be asked about, with the tokenizer that it has.
public struct UnscorableItemError: LocalizedError, Sendable, Equatable {
    public let file: String
    public let line: Int
    /// Counted from zero.
    public let choice: Int
    public let reason: String

    public var errorDescription: String? { "\(file), line \(line), choice \(choice): \(reason)." }
    public var recoverySuggestion: String? { "Shorten the item, or leave such items out." }
}

/// A model that computes no number for an item.
public struct NotFiniteError: LocalizedError, Sendable, Equatable {
    public let file: String
    public let line: Int
    /// What was found in place of a log-likelihood.
    public let found: Double

    public var errorDescription: String? {
        "\(file), line \(line): the model's log-likelihood is \(found). The checkpoint is damaged, or its numbers are out "
            + "of range."
    }
}
