import LanguageModel

/// How fast a model writes samples, measured in a few seconds: a pass takes the time of its weights, and each row the time
/// of the positions that it attends to.
///
///     seconds of a pass = passSeconds + rows · position · positionSeconds
public struct SynthesisRate: Sendable {
    /// Samples written side by side.
    public let rows: Int
    /// Of all rows at the beginning of their samples.
    public let passSeconds: Double
    /// Of one row, for each position that it attends to.
    public let positionSeconds: Double

    /// Share of a time that is planned for; the rest is for what cannot be measured beforehand.
    public static let plannedShare = 0.9

    /// Tokens per second while samples of up to `maximumLength` tokens are written, each of them to its end.
    public func tokensPerSecond(maximumLength: Int) -> Double {
        Double(rows) / (passSeconds + Double(rows) * Double(maximumLength) / 2 * positionSeconds)
    }
}

extension CorpusSynthesizer {
    /// Measures how fast samples are written on this machine. Nothing is written.
    ///
    /// - Parameter duration: what it may take, about; a pass is always finished.
    /// - Throws: `LanguageModelError`, `CancellationError`.
    public func measureRate(for duration: Duration = .seconds(3)) throws -> SynthesisRate {
        let third = duration / 3
        let passTokens = 128
        let positions = min(limits.positions ?? model.configuration.maximumPositions, 1024)
        let context = try model.makeDecodingContext(
            DecodingLimits(
                sequences: rows, positions: positions, batchTokens: max(rows, passTokens), logitRows: rows))
        var sampler = try Sampler(GenerateParameters(temperature: 1, topP: 1))
        var batch = TokenBatch(capacity: max(rows, passTokens))

        /// Least seconds of a pass that writes a token of each sequence, until time or room is over.
        func seconds(_ sequences: [SequenceID]) throws -> Double {
            let begin = ContinuousClock.now
            var least = Double.infinity
            for _ in 0..<32 where ContinuousClock.now - begin < third || least == .infinity {
                guard let length = sequences.map(context.length).max(), length < positions else { break }
                batch.removeAll()
                for sequence in sequences {
                    batch.append([0], to: sequence, sequenceLength: length + 1, logits: .last)
                }
                let start = ContinuousClock.now
                try context.decode(batch)
                for row in sequences.indices { _ = try context.withLogits(row: row) { sampler.next(logits: $0) } }
                least = min(least, (ContinuousClock.now - start) / .seconds(1))
            }
            return least
        }

        let sequences = try (0..<rows).map { _ in try context.makeSequence(capacity: min(positions, 64)) }
        let pass = try seconds(sequences)
        for sequence in sequences { context.removeSequence(sequence) }

        // One row at the beginning, and behind as many positions as can be read in the time.
        let alone = [try context.makeSequence(capacity: positions)]
        let first = try seconds(alone)
        let begin = ContinuousClock.now
        while ContinuousClock.now - begin < third, context.length(of: alone[0]) + passTokens + 32 < positions {
            batch.removeAll()
            batch.append(
                [Int](repeating: 0, count: passTokens), to: alone[0],
                sequenceLength: context.length(of: alone[0]) + passTokens, logits: .none)
            try context.decode(batch)
        }
        let length = context.length(of: alone[0])
        let last = try seconds(alone)
        let perPosition = last.isFinite && length > 0 ? max(0, last - first) / Double(length) : 0
        return SynthesisRate(rows: rows, passSeconds: pass, positionSeconds: perPosition)
    }
}
