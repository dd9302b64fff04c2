/// A decoding state: keys and values of some sequences, and memory for the activations of one
/// forward pass.
///
/// llama.cpp's `llama_context`. Used from one thread at a time; several contexts of one model may be used at once.
public protocol DecodingContext: AnyObject {
    /// What it was made for.
    var limits: DecodingLimits { get }

    /// Makes a sequence of up to `capacity` positions.
    ///
    /// - Throws: ``LanguageModelError/tooManySequences(maximum:)`` when all slots are taken,
    ///   ``LanguageModelError/contextExceeded(tokens:maximum:)`` for a capacity above the limits,
    ///   ``LanguageModelError/notEnoughMemory(needed:available:purpose:)``.
    func makeSequence(capacity: Int) throws -> SequenceID

    /// Frees the memory of a sequence. Its ID may be given to another one.
    func removeSequence(_ id: SequenceID)

    /// Tokens of a sequence whose keys and values are held.
    func length(of id: SequenceID) -> Int

    /// Forgets the tokens of a sequence from `length` on. The next tokens take their places.
    ///
    /// A sequence may then hold none, as ``length(of:)`` says, and has to be read again: where layers have a sliding window, what
    /// lies far behind it is not kept.
    func truncate(_ id: SequenceID, to length: Int)

    /// Gives an empty sequence the first `count` tokens of another one, with their keys and values, as far as these are held and can
    /// be copied; ``length(of:)`` says how many it has then.
    func copyBeginning(of source: SequenceID, to target: SequenceID, count: Int)

    /// Computes a batch in one forward pass; its keys and values enter the sequences' caches.
    ///
    /// Everything is validated before anything is touched. An error leaves the sequences as they
    /// were, but for ``LanguageModelError/nonFiniteLogits(position:)``; ``truncate(_:to:)`` tells which of them can go on.
    ///
    /// - Throws: ``LanguageModelError``; `CancellationError`, within a fraction of a second, when the task that it runs
    ///   in is cancelled.
    func decode(_ batch: TokenBatch) throws

    /// Calls `body` with a row of logits of the last batch, `[vocabularySize]`, valid during the call.
    ///
    /// - Parameters:
    ///   - row: number of the row among those that the batch asked for, in the order of its slices.
    ///   - body: reads the row.
    func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result

    /// What a row of logits of the last batch predicts of some tokens.
    ///
    /// - Parameters:
    ///   - row: as in `withLogits(row:_:)`.
    ///   - targets: tokens of the vocabulary.
    func predictions(row: Int, targets: [Int]) throws -> [TokenPrediction]
}

extension DecodingContext {
    /// Copies nothing: the tokens are read again.
    public func copyBeginning(of source: SequenceID, to target: SequenceID, count: Int) {}

    public func predictions(row: Int, targets: [Int]) throws -> [TokenPrediction] {
        try withLogits(row: row) { TokenPrediction.all(logits: $0, targets: targets) }
    }
}

/// The size of a decoding context.
public struct DecodingLimits: Sendable, Hashable {
    /// Most sequences at a time.
    public var sequences: Int
    /// Most positions of one sequence.
    public var positions: Int
    /// Most tokens of one batch.
    public var batchTokens: Int
    /// Most rows of one batch whose logits are wanted.
    public var logitRows: Int

    public init(sequences: Int, positions: Int, batchTokens: Int, logitRows: Int) {
        self.sequences = sequences
        self.positions = positions
        self.batchTokens = batchTokens
        self.logitRows = logitRows
    }
}

/// One sequence of a decoding context: the handle of its keys and values.
public struct SequenceID: Hashable, Sendable {
    /// Slot number in the context.
    public let index: Int

    public init(index: Int) { self.index = index }
}

/// Which rows of a slice the caller wants logits of.
public enum LogitRows: Sendable, Hashable {
    case none
    /// Those that follow the slice's last token.
    case last
    case all
}

/// Tokens of one or several sequences that one forward pass computes.
///
/// llama.cpp's `llama_batch`. A batch is made once and filled again for every pass, which allocates nothing.
public struct TokenBatch: Sendable {
    /// Consecutive tokens of one sequence, the next ones that it is given.
    public struct Slice: Sendable, Hashable {
        public let sequence: SequenceID
        /// Its rows of the batch.
        public let rows: Range<Int>
        /// Tokens of the sequence once all that it was given at the same time is read, in this batch or the next ones:
        /// a prompt read in chunks has the whole prompt's length in each of them. Dynamic rotary scaling computes with it.
        public let sequenceLength: Int
        public let logits: LogitRows
        /// Number, among all wanted rows of the batch, of the slice's first one.
        public let firstLogitRow: Int

        /// Rows of the batch whose logits are wanted.
        public var wantedRows: Range<Int> {
            switch logits {
            case .none: rows.upperBound..<rows.upperBound
            case .last: rows.upperBound - 1..<rows.upperBound
            case .all: rows
            }
        }
    }

    /// A token per row.
    public private(set) var tokens: [Int] = []
    /// In the order of their rows; a sequence has one at most.
    public private(set) var slices: [Slice] = []
    /// Rows whose logits are wanted, of all slices.
    public private(set) var logitRowCount = 0

    /// An empty batch.
    public init() {}

    /// An empty batch with memory for that many rows.
    public init(capacity: Int) {
        tokens.reserveCapacity(capacity)
        slices.reserveCapacity(capacity)
    }

    /// Empties it, keeping its memory.
    public mutating func removeAll() {
        tokens.removeAll(keepingCapacity: true)
        slices.removeAll(keepingCapacity: true)
        logitRowCount = 0
    }

    /// Adds the next tokens of a sequence.
    ///
    /// - Parameters:
    ///   - new: the tokens.
    ///   - sequence: the sequence, which must not have a slice of the batch yet.
    ///   - sequenceLength: its tokens once all that it was given at the same time is read.
    ///   - logits: rows whose logits are wanted.
    public mutating func append(
        _ new: some Collection<Int>, to sequence: SequenceID, sequenceLength: Int, logits: LogitRows
    ) {
        let first = tokens.count
        tokens.append(contentsOf: new)
        let slice = Slice(
            sequence: sequence, rows: first..<tokens.count, sequenceLength: sequenceLength, logits: logits,
            firstLogitRow: logitRowCount)
        slices.append(slice)
        logitRowCount += new.isEmpty ? 0 : slice.wantedRows.count
    }

    /// Checks, before anything is computed, that a context can compute the batch.
    ///
    /// - Parameters:
    ///   - limits: what the context was made for.
    ///   - vocabularySize: of the model.
    ///   - sequence: its length and capacity; nil if there is none of that ID.
    /// - Throws: ``LanguageModelError``
    package func validate(
        _ limits: DecodingLimits, vocabularySize: Int, sequence: (SequenceID) -> (length: Int, capacity: Int)?
    ) throws {
        guard tokens.count <= limits.batchTokens, logitRowCount <= limits.logitRows else {
            throw LanguageModelError.batchTooLarge(
                tokens: tokens.count, maximumTokens: limits.batchTokens, logitRows: logitRowCount,
                maximumLogitRows: limits.logitRows)
        }
        guard !slices.isEmpty else { throw LanguageModelError.noTokens }
        for (index, slice) in slices.enumerated() {
            guard !slice.rows.isEmpty else { throw LanguageModelError.noTokens }
            guard let (length, capacity) = sequence(slice.sequence),
                !slices[..<index].contains(where: { $0.sequence == slice.sequence })
            else { throw LanguageModelError.invalidSequence(index: slice.sequence.index) }
            guard slice.rows.count <= capacity - length else {
                throw LanguageModelError.contextExceeded(tokens: length + slice.rows.count, maximum: capacity)
            }
            for row in slice.rows where tokens[row] < 0 || tokens[row] >= vocabularySize {
                throw LanguageModelError.tokenOutOfRange(
                    token: tokens[row], position: length + row - slice.rows.lowerBound, vocabularySize: vocabularySize)
            }
        }
    }
}
