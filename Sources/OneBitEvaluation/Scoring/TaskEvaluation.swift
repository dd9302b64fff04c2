import Foundation
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
    private let context: Int
    private let batchSize: Int
    private let skipsUnscorable: Bool

    /// - Parameters:
    ///   - model: who is asked.
    ///   - encoder: makes tokens of the items.
    ///   - context: tokens that the model reads of a choice behind its context, the harness's `max_length`: 1 or more, and at
    ///     most the model's context, which it is unless given.
    ///   - batchSize: items that the model is given at once; 1 or more.
    ///   - skipsUnscorable: leaves out items that the model cannot be asked about; otherwise the first is an error.
    public init(
        model: any CausalLanguageModel, encoder: PromptEncoder, context: Int? = nil, batchSize: Int = 1,
        skipsUnscorable: Bool = false
    ) {
        let longest = model.configuration.maximumPositions
        precondition(batchSize >= 1, "a batch of \(batchSize) items")
        precondition((1...longest).contains(context ?? longest), "a context of \(context ?? longest) tokens")
        self.model = model
        self.encoder = encoder
        self.context = context ?? longest
        self.batchSize = batchSize
        self.skipsUnscorable = skipsUnscorable
    }

    /// - Parameters:
    ///   - items: the items of a task.
    ///   - journal: where results are kept as they come, and found where an earlier run has left them.
    ///   - progress: called after every batch, and now and then while texts are tokenized; may throw to end.
    /// - Throws: ``UnscorableItemError``, ``NotFiniteError``, what the journal and `progress` throw, the model's errors,
    ///   and `CancellationError` when the task that it runs in is cancelled.
    public func run(
        _ items: [TaskItem], journal: EvaluationJournal? = nil, progress: (Progress) throws -> Void = { _ in }
    ) throws -> Outcome {
        var state = Progress()
        var unscorable: [UnscorableItemError] = []
        var encoded: [EncodedItem] = []
        for (index, item) in items.enumerated() {
            do {
                encoded.append(
                    try EncodedItem(item, index: index, encoder: encoder, maximumLength: context))
            } catch let error as UnscorableItemError {
                guard skipsUnscorable else { throw error }
                unscorable.append(error)
            }
            if index.isMultiple(of: 64) {
                try Task.checkCancellation()
                try progress(state)
            }
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
            try Task.checkCancellation()
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

/// An item as the model is asked about it: choices that share a context are one request.
struct EncodedItem {
    /// Where the item stands among those of its task.
    let index: Int
    let requests: [ContinuationRequest]
    /// Of every choice, the request and the continuation in it.
    let places: [(request: Int, continuation: Int)]
    let isTruncated: Bool
    /// Tokens that the model is given, a shared context counted once.
    let tokenCount: Int
    /// Tokens of the longest context and continuation.
    let length: Int
    /// What a result of it is known by: the same tokens, asked the same way, have the same fingerprint.
    let fingerprint: UInt64

    /// - Throws: ``UnscorableItemError``
    init(_ item: TaskItem, index: Int, encoder: PromptEncoder, maximumLength: Int) throws {
        var requests: [ContinuationRequest] = []
        var places: [(request: Int, continuation: Int)] = []
        var isTruncated = false
        var fingerprint = Fingerprint()
        for (number, pair) in try encoder.pairs(of: item.choices).enumerated() {
            func unscorable(_ reason: String) -> UnscorableItemError {
                UnscorableItemError(file: item.file, line: item.line, choice: number, reason: reason)
            }
            var pair = pair
            guard !pair.continuation.isEmpty else { throw unscorable("the tokenizer makes no token of it") }
            guard !pair.context.isEmpty else {
                throw unscorable("nothing stands before it, and the tokenizer has no token that begins a sequence")
            }
            if pair.truncate(toContext: maximumLength) { isTruncated = true }
            fingerprint.combine(pair.context)
            fingerprint.combine(pair.continuation)
            let request = requests.firstIndex { $0.context == pair.context } ?? requests.count
            if request == requests.count {
                requests.append(ContinuationRequest(context: pair.context, continuations: []))
            }
            places.append((request, requests[request].continuations.count))
            requests[request].continuations.append(pair.continuation)
        }
        self.index = index
        self.requests = requests
        self.places = places
        self.isTruncated = isTruncated
        tokenCount = requests.reduce(0) { sum, request in
            request.continuations.reduce(sum + request.context.count) { $0 + $1.count }
        }
        length = requests.map { $0.context.count + ($0.continuations.map(\.count).max() ?? 0) }.max() ?? 0
        self.fingerprint = fingerprint.value
    }

    /// The scores of the choices, from those of the requests.
    func scores(from requestScores: ArraySlice<[ContinuationScore]>) -> [ContinuationScore] {
        places.map { requestScores[requestScores.startIndex + $0.request][$0.continuation] }
    }
}

/// What a model makes of an item.
public struct ItemResult: Sendable {
    public let item: TaskItem
    /// One per choice.
    public let scores: [ContinuationScore]
    /// Whether a choice behind its context was longer than the context, and lost tokens on the left.
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
