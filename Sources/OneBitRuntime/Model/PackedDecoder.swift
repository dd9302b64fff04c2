import ModelFiles

/// One sequence of a packed model: its keys and values, and room for the activations of one block of tokens.
///
/// Use it from one thread at a time; it shares the model with other decoders.
final class PackedDecoder: TokenDecoder {
    /// Tokens computed together in prefill: enough to use each weight many times, few enough to stay in the cache.
    private static let blockSize = 128

    private(set) var position = 0
    private let model: PackedModel
    private let cache: KeyValueCache
    private var workspace: Workspace?

    init(model: PackedModel) {
        self.model = model
        let configuration = model.configuration
        cache = KeyValueCache(
            layerCount: configuration.layerCount,
            width: configuration.keyValueHeadCount * configuration.headSize
        )
    }

    /// - Throws: ``RuntimeError``; the sequence then stays as it was, but for
    ///   ``RuntimeError/nonFiniteLogits(position:)``.
    func advance(by tokens: [Int]) throws -> [Float] {
        try model.check(tokens, at: position)
        let workspace = workspace(for: tokens.count)
        var logits: [Float] = []
        for block in blocks(of: tokens) {
            run(block, workspace)
            if block.endIndex == tokens.endIndex {
                logits = try headLogits(of: block.count - 1..<block.count, workspace)
            }
        }
        return logits
    }

    /// Feeds `tokens` and returns the logits that follow each of them, [tokens.count, vocabularySize].
    ///
    /// - Throws: as ``advance(by:)``.
    func logits(appending tokens: [Int]) throws -> [Float] {
        try model.check(tokens, at: position)
        let workspace = workspace(for: tokens.count)
        var logits: [Float] = []
        logits.reserveCapacity(tokens.count * model.configuration.vocabularySize)
        for block in blocks(of: tokens) {
            run(block, workspace)
            logits += try headLogits(of: 0..<block.count, workspace)
        }
        return logits
    }

    private func blocks(of tokens: [Int]) -> [ArraySlice<Int>] {
        stride(from: 0, to: tokens.count, by: Self.blockSize).map {
            tokens[$0..<min($0 + Self.blockSize, tokens.count)]
        }
    }

    /// Activations for a block of `tokens`: those of one token suffice for decoding.
    private func workspace(for tokens: Int) -> Workspace {
        if let workspace, workspace.tokens >= min(tokens, Self.blockSize) { return workspace }
        let new = Workspace(
            configuration: model.configuration,
            tokens: min(tokens, Self.blockSize),
            threads: model.threads
        )
        workspace = new
        return new
    }

    /// The final hidden states of `tokens` into `workspace.hidden`.
    private func run(_ tokens: ArraySlice<Int>, _ workspace: Workspace) {
        let execution = model.execution
        let hidden = workspace.hidden.pointer
        let width = model.configuration.hiddenSize
        cache.reserve(position + tokens.count, used: position, maximum: model.configuration.maximumPositions)
        workspace.reserve(positions: cache.capacity)
        model.rotary.fill(
            cosines: workspace.cosines.pointer,
            sines: workspace.sines.pointer,
            positions: position..<position + tokens.count
        )
        for (row, token) in tokens.enumerated() {
            model.embedding.copyRow(token, to: hidden + row * width, execution: execution)
        }
        for (block, layer) in zip(model.blocks, cache.layers) {
            block(
                hidden,
                tokens: tokens.count,
                position: position,
                cache: layer,
                workspace: workspace,
                execution: execution
            )
        }
        position += tokens.count
    }

    /// Logits of some rows of the block that was run last, [rows.count, vocabularySize].
    private func headLogits(of rows: Range<Int>, _ workspace: Workspace) throws -> [Float] {
        let width = model.configuration.hiddenSize
        let vocabulary = model.configuration.vocabularySize
        let normed = workspace.normed.pointer
        model.norm(
            workspace.hidden.pointer + rows.lowerBound * width,
            tokens: rows.count,
            into: normed,
            execution: model.execution
        )
        let logits = [Float](unsafeUninitializedCapacity: rows.count * vocabulary) { output, count in
            model.head(normed, tokens: rows.count, into: output.baseAddress!, execution: model.execution)
            count = rows.count * vocabulary
        }
        if let index = logits.firstIndex(where: { !$0.isFinite }) {
            throw RuntimeError.nonFiniteLogits(position: position - rows.count + index / vocabulary)
        }
        return logits
    }
}
