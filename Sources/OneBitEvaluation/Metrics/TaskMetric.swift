/// A measure of a task, by the harness's name of it.
public enum TaskMetric: String, Sendable, Hashable, CaseIterable {
    /// Share of items whose likeliest choice is the right one; of a single continuation, whose every token is the
    /// likeliest.
    case accuracy = "acc"
    /// The same, with each choice's log-likelihood divided by its number of characters. Of WinoGrande and BoolQ the
    /// harness publishes ``accuracy`` alone.
    case normalizedAccuracy = "acc_norm"
    /// exp of minus the mean log-likelihood of an item's continuation.
    case perplexity
}

extension TaskScoring {
    /// The measures that there are.
    public var metrics: [TaskMetric] {
        switch self {
        case .multipleChoice: [.accuracy, .normalizedAccuracy]
        case .continuation: [.accuracy, .perplexity]
        }
    }
}
