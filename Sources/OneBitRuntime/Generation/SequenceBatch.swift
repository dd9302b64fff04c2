/// Sequences of one packed model, continued in lockstep: every weight is read once for a token of each of them.
struct SequenceBatch {
    /// Tokens of prompts that are computed together.
    private static let prefillRows = 128

    /// Sequences under way.
    private(set) var sequences: [BatchSequence] = []

    private let vocabularySize: Int
    private let prefill: ForwardPass
    private let step: ForwardPass

    /// - Parameters:
    ///   - size: most sequences at a time.
    ///   - positions: most positions of one of them.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(model: PackedModel, size: Int, positions: Int) throws {
        vocabularySize = model.configuration.vocabularySize
        prefill = try ForwardPass(
            model: model, rows: min(Self.prefillRows, size * positions), logitRows: 0, positions: positions)
        step = try ForwardPass(model: model, rows: size, logitRows: size, positions: positions)
    }

    /// Takes sequences in: feeds their prompts, but for the last tokens, which go with the next step.
    ///
    /// - Throws: `CancellationError`
    mutating func admit(_ newcomers: [BatchSequence]) throws {
        var free = prefill.rowLimit
        prefill.begin()
        func run() throws {
            try Task.checkCancellation()
            try prefill.run(logitRows: 0..<0)
            prefill.begin()
            free = prefill.rowLimit
        }
        for sequence in newcomers {
            var rest = sequence.prompt.dropLast()
            while !rest.isEmpty {
                if free == 0 { try run() }
                let part = rest.prefix(free)
                prefill.append(part, to: sequence.cache, sequenceLength: sequence.prompt.count - 1)
                free -= part.count
                rest = rest.dropFirst(part.count)
            }
        }
        if free < prefill.rowLimit { try run() }
        sequences += newcomers
    }

    /// Gives each sequence its next token.
    ///
    /// - Parameter didChoose: takes each sequence and the text that its token settles.
    /// - Throws: ``RuntimeError/nonFiniteLogits(position:)``, `CancellationError`, and what `didChoose` throws.
    func advance(didChoose: (BatchSequence, String) throws -> Void) throws {
        try Task.checkCancellation()
        let begin = ContinuousClock.now
        step.begin()
        for sequence in sequences { step.append(sequence.pending[...], to: sequence.cache) }
        try step.run(logitRows: 0..<sequences.count)
        let stepTime = ContinuousClock.now - begin
        for (row, sequence) in sequences.enumerated() {
            let logits = UnsafeBufferPointer(
                start: step.logits.pointer + row * vocabularySize, count: vocabularySize)
            try didChoose(sequence, sequence.choose(from: logits, stepTime: stepTime))
        }
    }

    /// Lets go of the sequences that are at their end, and returns them.
    mutating func removeFinished() -> [BatchSequence] {
        let finished = sequences.filter { $0.stopReason != nil }
        if !finished.isEmpty { sequences.removeAll { $0.stopReason != nil } }
        return finished
    }
}
