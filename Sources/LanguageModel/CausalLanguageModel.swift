// LanguageModel: what any language model can do, over a protocol: decoding, sampling, generation, chat sessions, scoring.
// Knows neither kernels nor libtorch. May import ModelDescription and Tokenization.

import ModelDescription

/// A model that predicts the next token: the packed model, the teacher and the float student.
///
/// Generation, chat, scoring and evaluation are written once, over this protocol.
public protocol CausalLanguageModel: Sendable {
    /// Shape of the model.
    var configuration: ModelConfiguration { get }

    /// Bytes that the keys and values of `positions` tokens of one sequence take.
    func cacheByteCount(positions: Int) -> Int

    /// Makes what a caller decodes with. Contexts share the model's weights.
    ///
    /// - Throws: ``LanguageModelError/notEnoughMemory(needed:available:purpose:)`` and what the back end refuses.
    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext

    /// Logits of every position of one sequence, row-major `[tokens.count, vocabularySize]`.
    func logits(of tokens: [Int]) throws -> [Float]

    /// How likely continuations of contexts are, in the order of the requests.
    ///
    /// - Throws: ``LanguageModelError`` for a request that is empty somewhere, too long, or has tokens of another
    ///   vocabulary.
    func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]]
}

/// A model that shows what passes through it, to be held against another implementation.
public protocol HiddenStateModel: CausalLanguageModel {
    /// Logits of every position, and the hidden states on the way.
    ///
    /// - Throws: ``LanguageModelError``
    func states(of tokens: [Int]) throws -> ModelStates
}

/// What passes through a model as it reads a sequence of n tokens.
public struct ModelStates: Sendable {
    /// Row-major [n, vocabularySize].
    public let logits: [Float]
    /// Row-major [n, hiddenSize] each: what enters each block; at last [n, embeddingSize], what the output head reads,
    /// behind the final norm where there is one. The order of transformers' `hidden_states`.
    public let hiddenStates: [[Float]]

    public init(logits: [Float], hiddenStates: [[Float]]) {
        self.logits = logits
        self.hiddenStates = hiddenStates
    }
}

extension CausalLanguageModel {
    /// Tokens that the standard ways to read a text compute in one pass.
    static var passTokens: Int { 128 }

    public func logits(of tokens: [Int]) throws -> [Float] {
        try check(tokens)
        let vocabulary = configuration.vocabularySize
        let rows = min(tokens.count, Self.passTokens)
        let context = try makeDecodingContext(
            DecodingLimits(sequences: 1, positions: tokens.count, batchTokens: rows, logitRows: rows))
        let sequence = try context.makeSequence(capacity: tokens.count)
        var logits: [Float] = []
        logits.reserveCapacity(tokens.count * vocabulary)
        var batch = TokenBatch(capacity: rows)
        for first in stride(from: 0, to: tokens.count, by: rows) {
            batch.removeAll()
            batch.append(
                tokens[first..<min(first + rows, tokens.count)], to: sequence, sequenceLength: tokens.count,
                logits: .all)
            try context.decode(batch)
            for row in 0..<batch.logitRowCount { try context.withLogits(row: row) { logits.append(contentsOf: $0) } }
        }
        return logits
    }

    /// Keys and values in 32-bit floats.
    public func cacheByteCount(positions: Int) -> Int {
        configuration.layerCount * 2 * configuration.keyValueHeadCount * configuration.headSize
            * MemoryLayout<Float>.size * positions
    }
}

extension CausalLanguageModel {
    /// Checks that a sequence at `position` may grow by `tokens`: at least one, all of the vocabulary, and not beyond its capacity.
    ///
    /// - Parameters:
    ///   - tokens: what it is to grow by.
    ///   - position: tokens that it has.
    ///   - contextLength: most positions; nil is the model's own.
    /// - Throws: ``LanguageModelError``
    public func check(_ tokens: [Int], at position: Int = 0, contextLength: Int? = nil) throws {
        guard !tokens.isEmpty else { throw LanguageModelError.noTokens }
        let maximum = contextLength ?? configuration.maximumPositions
        guard tokens.count <= maximum - position else {
            throw LanguageModelError.contextExceeded(tokens: position + tokens.count, maximum: maximum)
        }
        let vocabulary = configuration.vocabularySize
        for (index, token) in tokens.enumerated() where token < 0 || token >= vocabulary {
            throw LanguageModelError.tokenOutOfRange(
                token: token, position: position + index, vocabularySize: vocabulary)
        }
    }
}
