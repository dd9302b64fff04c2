import LanguageModel
import ModelDescription

/// One forward pass over rows of one or several sequences, walked through by all threads of the model's team:
///
///     x = embedding[tokens];   x = block(x) for every block;   logits = head(x)
///
/// Holds the activations, so it is made once and used again and again; it allocates nothing in between. Use it from one
/// thread at a time.
final class ForwardPass: TeamTask {
    /// Products and sums below which one thread is faster than several that meet.
    private static let fewestShared = 16 << 20

    let model: PackedModel
    /// Logits of the rows that the last pass was asked for: [logitRows.count, vocabularySize]
    let logits: Buffer<Float>
    /// Rows that a pass may have.
    let rowLimit: Int
    /// Rows whose logits a pass may be asked for.
    let logitRowLimit: Int

    /// Weights in the linears of all blocks.
    private let weightCount: Int
    private let workspace: Workspace
    private let tokens: Buffer<Int>
    private var segments: [Segment] = []
    private var rowCount = 0
    private var logitRows = 0..<0
    /// Where the states of a pass go, if they are wanted.
    private var hiddenStates: HiddenStates?

    /// - Parameters:
    ///   - rows: most rows of a pass.
    ///   - logitRows: most rows whose logits are wanted.
    ///   - positions: most positions of a sequence.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(model: PackedModel, rows: Int, logitRows: Int, positions: Int) throws {
        self.model = model
        weightCount = model.configuration.linearWeightCount
        rowLimit = rows
        logitRowLimit = logitRows
        workspace = try Workspace(
            configuration: model.configuration, rows: rows, positions: positions, execution: model.execution)
        logits = try Buffer(count: logitRows * model.configuration.vocabularySize)
        tokens = try Buffer(count: rows)
        segments.reserveCapacity(rows)
    }

    /// Clears the rows of the last pass.
    func begin() {
        segments.removeAll(keepingCapacity: true)
        rowCount = 0
    }

    /// Adds the next tokens of a sequence. The caller has seen to it that they and their number are in range.
    ///
    /// - Parameter sequenceLength: tokens of the sequence once all that it was given is read; nil is with these.
    func append(_ next: ArraySlice<Int>, to cache: KeyValueCache, sequenceLength: Int? = nil) {
        for (index, token) in next.enumerated() { tokens.pointer[rowCount + index] = token }
        segments.append(
            Segment(
                cache: cache, rows: rowCount..<rowCount + next.count, position: cache.position,
                sequenceLength: sequenceLength ?? cache.position + next.count))
        rowCount += next.count
    }

    /// Computes the rows; keys and values enter the caches, whose positions move on.
    ///
    /// - Parameters:
    ///   - logitRows: rows whose logits are wanted.
    ///   - hiddenStates: takes the states of all rows; has room for as many rows as the pass.
    /// - Throws: `LanguageModelError.nonFiniteLogits`
    func run(logitRows: Range<Int>, hiddenStates: HiddenStates? = nil) throws {
        self.logitRows = logitRows
        self.hiddenStates = hiddenStates
        let work = weightCount.multipliedReportingOverflow(by: rowCount)
        model.execution.team.run(self, alone: !work.overflow && work.partialValue < Self.fewestShared)
        for segment in segments { segment.cache.position = segment.position + segment.rows.count }
        try checkLogits()
    }

    func run(as member: inout Team.Member) {
        let execution = model.execution
        let kernels = execution.kernels
        let width = model.configuration.hiddenSize
        let hidden = workspace.hidden.pointer
        let half = model.configuration.headSize / 2
        for segment in segments {
            member.forEach(segment.rows.count) { range in
                for index in range {
                    let row = segment.rows.lowerBound + index
                    let position = segment.position + index
                    model.embedding.fill(
                        hidden + row * width, token: tokens.pointer[row], position: position,
                        room: workspace.embedded.pointer + row * workspace.embeddedWidth, kernels: kernels)
                    model.rotary?.fill(
                        cosines: workspace.cosines.pointer + row * half, sines: workspace.sines.pointer + row * half,
                        position: position, sequenceLength: segment.sequenceLength)
                }
            }
        }
        for (layer, block) in model.blocks.enumerated() {
            hiddenStates?.record(layer, hidden, rows: rowCount, member: &member)
            block(
                hidden, rows: rowCount, segments: segments, workspace: workspace, execution: execution,
                member: &member)
        }
        if let hiddenStates {
            let last = model.head.input(
                of: hidden, rows: rowCount, workspace: workspace, kernels: kernels, member: &member)
            hiddenStates.record(model.blocks.count, last, rows: rowCount, member: &member)
        }
        guard !logitRows.isEmpty else { return }
        model.head(
            hidden + logitRows.lowerBound * width, rows: logitRows.count, into: logits.pointer, workspace: workspace,
            kernels: kernels, member: &member)
    }

    /// NaN and infinity have all bits of the exponent set.
    private func checkLogits() throws {
        let vocabulary = model.configuration.vocabularySize
        for (index, row) in logitRows.enumerated() {
            let values = logits.pointer + index * vocabulary
            var isFinite = true
            for token in 0..<vocabulary { isFinite = isFinite && values[token].bitPattern & 0x7f80_0000 != 0x7f80_0000 }
            guard isFinite else {
                let segment = segments.first { $0.rows.contains(row) }!
                throw LanguageModelError.nonFiniteLogits(position: segment.position + row - segment.rows.lowerBound)
            }
        }
    }
}
