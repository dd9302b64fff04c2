/// What a model scored in a task.
public struct TaskResult: Sendable {
    /// A part of a task: one of MMLU's subjects.
    public struct Subject: Sendable {
        public let name: String
        public let metrics: [TaskMetric: Estimate]
    }

    /// The measures of the whole; of a task with subjects their means weighted by size, and pooled errors.
    public let metrics: [TaskMetric: Estimate]
    /// In alphabetical order; empty where the task has no subjects.
    public let subjects: [Subject]
    /// Items scored.
    public let itemCount: Int
    /// Items that were longer than the context and lost their beginning.
    public let truncatedCount: Int

    /// - Parameters:
    ///   - items: at least one.
    ///   - scoring: what they were scored by.
    public init(_ items: [ItemResult], scoring: TaskScoring) {
        itemCount = items.count
        truncatedCount = items.count { $0.isTruncated }
        let groups = Dictionary(grouping: items) { $0.item.subject }
        subjects = groups.compactMap { subject, items in
            subject.map { Subject(name: $0, metrics: Self.metrics(of: items, scoring: scoring)) }
        }.sorted { $0.name < $1.name }
        if subjects.isEmpty {
            metrics = Self.metrics(of: items, scoring: scoring)
        } else {
            let subjects = subjects
            metrics = Dictionary(
                uniqueKeysWithValues: scoring.metrics.map { metric in
                    (metric, Estimate(pooling: subjects.compactMap { $0.metrics[metric] }))
                })
        }
    }

    private static func metrics(of items: [ItemResult], scoring: TaskScoring) -> [TaskMetric: Estimate] {
        func share(_ isRight: (ItemResult) -> Bool) -> Estimate { Estimate(meanOf: items.map { isRight($0) ? 1 : 0 }) }
        return switch scoring {
        case .multipleChoice:
            [.accuracy: share(\.isRight), .normalizedAccuracy: share(\.isRightNormalized)]
        case .continuation:
            [
                .accuracy: share { $0.scores[0].isGreedy },
                .perplexity: Estimate(perplexityOf: items.map { $0.scores[0].logLikelihood }),
            ]
        }
    }
}

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
