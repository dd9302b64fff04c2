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
    /// Items that were longer than the model's context and lost their beginning.
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
