import LanguageModel

/// Asks a model about the items of a task.
///
/// Long items come first, so that what runs out of memory does so at once and estimates of the time left err to the safe
/// side; a batch has items of about one length.
public struct TaskEvaluation: Sendable {
    /// How far it is.
    public struct Progress: Sendable {
        public var items = 0
        public var totalItems = 0
        /// Tokens that the model was given, contexts that choices share counted once.
        public var tokens = 0
        public var totalTokens = 0
    }

    /// What came of the items.
    public struct Outcome: Sendable {
        /// In the order of the items.
        public var results: [ItemResult]
        /// Items that the model cannot be asked about, left out.
        public var unscorable: [UnscorableItemError]
    }

    private let model: any CausalLanguageModel
    private let encoder: PromptEncoder
    private let batchSize: Int
    private let skipsUnscorable: Bool

    /// - Parameters:
    ///   - model: who is asked.
    ///   - encoder: makes tokens of the items.
    ///   - batchSize: items that the model is given at once; 1 or more.
    ///   - skipsUnscorable: leaves out items that the model cannot be asked about; otherwise the first is an error.
    public init(
        model: any CausalLanguageModel, encoder: PromptEncoder, batchSize: Int = 1, skipsUnscorable: Bool = false
    ) {
        precondition(batchSize >= 1, "a batch of \(batchSize) items")
        self.model = model
        self.encoder = encoder
        self.batchSize = batchSize
        self.skipsUnscorable = skipsUnscorable
    }

    /// - Parameters:
    ///   - items: the items of a task.
    ///   - journal: where results are kept as they come, and found where an earlier run has left them.
    ///   - progress: called after every batch, and now and then while texts are tokenised; may throw to end.
    /// - Throws: ``UnscorableItemError``, ``NotFiniteError``, what the journal and `progress` throw, and the model's errors.
    public func run(
        _ items: [TaskItem], journal: EvaluationJournal? = nil, progress: (Progress) throws -> Void = { _ in }
    ) throws -> Outcome {
        var state = Progress()
        var unscorable: [UnscorableItemError] = []
        var encoded: [EncodedItem] = []
        for (index, item) in items.enumerated() {
            do {
                encoded.append(
                    try EncodedItem(
                        item, index: index, encoder: encoder, maximumLength: model.configuration.maximumPositions))
            } catch let error as UnscorableItemError {
                guard skipsUnscorable else { throw error }
                unscorable.append(error)
            }
            if index.isMultiple(of: 64) { try progress(state) }
        }

        state.totalItems = encoded.count
        state.totalTokens = encoded.reduce(0) { $0 + $1.tokenCount }
        var results: [ItemResult?] = Array(repeating: nil, count: items.count)
        func record(_ item: EncodedItem, _ scores: [ContinuationScore]) {
            results[item.index] = ItemResult(
                item: items[item.index], scores: scores, isTruncated: item.isTruncated)
            state.items += 1
            state.tokens += item.tokenCount
        }

        var remaining: [EncodedItem] = []
        for item in encoded {
            if let scores = journal?.scores(of: item.fingerprint, count: item.places.count) {
                record(item, scores)
            } else {
                remaining.append(item)
            }
        }
        try progress(state)
        remaining.sort { ($1.length, $0.index) < ($0.length, $1.index) }
        for start in stride(from: 0, to: remaining.count, by: batchSize) {
            let batch = remaining[start..<min(start + batchSize, remaining.count)]
            var scores = try model.scores(of: batch.flatMap(\.requests))[...]
            var entries: [(UInt64, [ContinuationScore])] = []
            for item in batch {
                let itemScores = item.scores(from: scores.prefix(item.requests.count))
                scores = scores.dropFirst(item.requests.count)
                if let bad = itemScores.first(where: { !$0.logLikelihood.isFinite }) {
                    let item = items[item.index]
                    throw NotFiniteError(file: item.file, line: item.line, found: bad.logLikelihood)
                }
                entries.append((item.fingerprint, itemScores))
                record(item, itemScores)
            }
            try journal?.append(entries)
            try progress(state)
        }
        return Outcome(results: results.compactMap(\.self), unscorable: unscorable)
    }
}
