import Foundation
import ModelFiles

/// Knowledge distillation from a dense teacher into its OneBit student (paper §3.4).
public struct Distiller {
    private let teacher: LlamaModel
    private let student: LlamaModel
    private let start: Checkpoint
    private let recipe: DistillationRecipe

    /// - Parameters:
    ///   - teacher: The original checkpoint.
    ///   - start: The student before training, as `onebit init` writes it.
    /// - Throws: ``TrainingError`` where they are not a teacher and a student of one shape, and what reading throws.
    public init(teacher: Checkpoint, start: Checkpoint, recipe: DistillationRecipe) throws {
        try teacher.require(.dense)
        try start.require(.floatStudent)
        let (t, s) = (teacher.configuration, start.configuration)
        guard t.linears == s.linears, t.floatTensors == s.floatTensors else {
            throw TrainingError.shapesDiffer(teacher: teacher.directory, student: start.directory)
        }
        self.teacher = try LlamaModel(checkpoint: teacher)
        student = try LlamaModel(checkpoint: start, signGradient: recipe.signGradient)
        self.start = start
        self.recipe = recipe
    }

    /// Trains the student and writes it as a float checkpoint.
    ///
    /// - Parameters:
    ///   - corpus: One stream of tokens.
    ///   - budget: Steps, batch and sequence length.
    ///   - output: The directory to make, with `training_log.jsonl` beside the weights.
    ///   - observe: Told of every step; when it throws, the state is saved for a resumption.
    /// - Returns: What every step did.
    @discardableResult
    public func run(
        corpus: [Int32],
        budget: TrainingBudget,
        output: URL,
        overwrite: Bool,
        checkpoints: CheckpointPolicy?,
        observe: (TrainingEvent) throws -> Void
    ) throws -> [TrainingEvent] {
        try StagedDirectory.write(to: output, overwrite: overwrite) { directory in
            let loop = try TrainingLoop(model: student, plan: plan(budget), tokens: corpus)
            let loss = DistillationLoss(weights: recipe.lossWeights)
            let keepsStates = recipe.lossWeights.hiddenStates != 0
            let events = try loop.run(policy: checkpoints, observe: observe) { tokens in
                let target = try withoutGradient { try teacher(tokens, hiddenStates: keepsStates) }
                return try loss(teacher: target, student: student(tokens, hiddenStates: keepsStates), tokens: tokens)
            }
            try student.write(to: directory, elementType: .float32)
            let configuration = start.configuration
            try writeAtomically(
                try configuration.jsonData(quantization: configuration.quantization),
                to: directory.appending(path: "config.json"))
            try start.copyAuxiliaryFiles(to: directory)
            try writeTrainingLog(events, to: directory)
            return events
        }
    }

    private func plan(_ budget: TrainingBudget) -> TrainingPlan {
        TrainingPlan(
            steps: budget.steps,
            batchSize: budget.batchSize,
            accumulation: budget.accumulation,
            sequenceLength: budget.sequenceLength,
            warmupSteps: min(recipe.warmupSteps, budget.steps / 10),
            optimizer: recipe.optimizer,
            seed: budget.seed
        )
    }
}

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
}
