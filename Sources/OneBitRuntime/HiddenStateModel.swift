/// A model that shows what passes through it, to be held against another implementation.
public protocol HiddenStateModel: CausalLanguageModel {
    /// Logits of every position, and the hidden states on the way.
    ///
    /// - Throws: ``RuntimeError``
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
