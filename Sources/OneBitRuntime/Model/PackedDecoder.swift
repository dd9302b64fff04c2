import LanguageModel
import ModelDescription

/// One sequence of a packed model: its keys and values, and room for the activations of one block of tokens.
///
/// Use it from one thread at a time; it shares the model with other decoders.
final class PackedDecoder: TokenDecoder {
    /// Tokens computed together in prefill: enough to use each weight many times, few enough to stay in the cache.
    private static let blockSize = 128

    var position: Int { cache.position }
    let contextLength: Int
    private let model: PackedModel
    private let cache: KeyValueCache
    /// The pass of a single token, and that of a block of the prompt, made when it is needed.
    private let step: ForwardPass
    private var prefill: ForwardPass?
    /// The pass that holds the logits of the last token, and their row in it.
    private var last: ForwardPass?
    private var lastRow = 0

    /// - Parameter contextLength: positions to make room for.
    /// - Throws: `LanguageModelError.notEnoughMemory`, ``RuntimeError/outOfMemory(bytes:)``
    init(model: PackedModel, contextLength: Int) throws {
        self.model = model
        self.contextLength = contextLength
        try AvailableMemory.require(
            KeyValueCache.byteCount(model.configuration, capacity: contextLength),
            for: "the keys and values of \(contextLength) tokens")
        cache = try KeyValueCache(configuration: model.configuration, capacity: contextLength)
        step = try ForwardPass(model: model, rows: 1, logitRows: 1, positions: contextLength)
    }

    /// - Throws: ``RuntimeError``; the sequence then stays as it was, but for
    ///   `LanguageModelError.nonFiniteLogits`.
    func advance(by tokens: [Int]) throws {
        try check(tokens)
        if tokens.count == 1 {
            try run(tokens[...], of: tokens, in: step, logitRows: 0..<1)
            return
        }
        let pass = try prefillPass(tokens.count, logitRows: 1)
        for first in stride(from: 0, to: tokens.count, by: pass.rowLimit) {
            let block = tokens[first..<min(first + pass.rowLimit, tokens.count)]
            let isLast = block.endIndex == tokens.endIndex
            try run(block, of: tokens, in: pass, logitRows: isLast ? block.count - 1..<block.count : 0..<0)
        }
    }

    func withLogits<Result>(_ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        guard let last else { throw LanguageModelError.noTokens }
        let vocabulary = model.configuration.vocabularySize
        return try body(UnsafeBufferPointer(start: last.logits.pointer + lastRow * vocabulary, count: vocabulary))
    }

    func rewind(to position: Int) {
        cache.position = min(cache.position, max(0, position))
        last = nil
    }

    /// Feeds `tokens`; `body` takes the logits that follow each of them, some rows [vocabularySize] at a time, valid
    /// during the call.
    ///
    /// - Throws: as ``advance(by:)``, and what `body` throws.
    func advance(by tokens: [Int], body: (UnsafeBufferPointer<Float>) throws -> Void) throws {
        try check(tokens)
        let pass = try prefillPass(tokens.count, logitRows: .max)
        let vocabulary = model.configuration.vocabularySize
        for first in stride(from: 0, to: tokens.count, by: pass.rowLimit) {
            let block = tokens[first..<min(first + pass.rowLimit, tokens.count)]
            try run(block, of: tokens, in: pass, logitRows: 0..<block.count)
            try body(UnsafeBufferPointer(start: pass.logits.pointer, count: block.count * vocabulary))
        }
    }

    private func check(_ tokens: [Int]) throws {
        try model.check(tokens, at: position, contextLength: contextLength)
    }

    /// Computes a block of what `advance` was given.
    private func run(
        _ block: ArraySlice<Int>, of tokens: [Int], in pass: ForwardPass, logitRows: Range<Int>
    ) throws {
        pass.begin()
        pass.append(block, to: cache, sequenceLength: cache.position + tokens.endIndex - block.startIndex)
        try pass.run(logitRows: logitRows)
        last = pass
        lastRow = max(0, logitRows.count - 1)
    }

    /// A pass for blocks of that many tokens and so many rows of logits.
    private func prefillPass(_ tokens: Int, logitRows: Int) throws -> ForwardPass {
        let rows = min(tokens, Self.blockSize)
        let logitRows = min(logitRows, rows)
        if let prefill, prefill.rowLimit >= rows, prefill.logitRowLimit >= logitRows { return prefill }
        let pass = try ForwardPass(model: model, rows: rows, logitRows: logitRows, positions: contextLength)
        prefill = pass
        return pass
    }
}
