/// How much a run trains on; how it does so is the recipe's.
public struct TrainingBudget: Sendable, Hashable, Codable {
    /// Optimiser steps.
    public var steps: Int
    /// Sequences per step.
    public var batchSize: Int
    /// Passes that a step's batch is split into to save memory.
    public var accumulation: Int
    /// Tokens per sequence.
    public var sequenceLength: Int
    /// Decides the order of the data.
    public var seed: UInt64

    public init(steps: Int, batchSize: Int, accumulation: Int = 1, sequenceLength: Int, seed: UInt64) {
        self.steps = steps
        self.batchSize = batchSize
        self.accumulation = accumulation
        self.sequenceLength = sequenceLength
        self.seed = seed
    }

    /// Tokens per optimiser step.
    public var tokensPerStep: Int { batchSize * sequenceLength }
}
