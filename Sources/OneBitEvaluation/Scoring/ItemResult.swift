import LanguageModel

/// What a model makes of an item.
public struct ItemResult: Sendable {
    public let item: TaskItem
    /// One per choice.
    public let scores: [ContinuationScore]
    /// Whether a choice behind its context was longer than the model's context, and lost tokens on the left.
    public let isTruncated: Bool

    public init(item: TaskItem, scores: [ContinuationScore], isTruncated: Bool) {
        self.item = item
        self.scores = scores
        self.isTruncated = isTruncated
    }

    /// Whether the likeliest choice is the right one.
    public var isRight: Bool { isLargest(scores.map(\.logLikelihood)) }

    /// Whether the choice that is likeliest per character is the right one.
    public var isRightNormalized: Bool {
        isLargest(zip(scores, item.choices).map { $0.logLikelihood / Double($1.length) })
    }

    /// Whether the right choice has the largest of the values; of equal ones the first counts as the largest.
    private func isLargest(_ values: [Double]) -> Bool {
        values.max().flatMap { values.firstIndex(of: $0) } == item.answer
    }
}
