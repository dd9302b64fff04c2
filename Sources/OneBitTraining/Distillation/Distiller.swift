import Foundation
import ModelDescription
import TensorFiles

/// Knowledge distillation from a dense teacher into its OneBit student (paper §3.4).
public struct Distiller {
    private let teacher: Transformer
    private let student: Transformer
    private let start: Checkpoint
    private let recipe: DistillationRecipe

    /// - Parameters:
    ///   - teacher: The original checkpoint.
    ///   - start: The student before training, as `onebit init` writes it.
    ///   - recipe: Loss, gradient and optimiser.
    /// - Throws: ``TrainingError`` where they are not a teacher and a student of one shape, and what reading throws.
    public init(teacher: Checkpoint, start: Checkpoint, recipe: DistillationRecipe) throws {
        try teacher.require(.dense)
        try start.require(.floatStudent)
        let (t, s) = (teacher.configuration, start.configuration)
        guard t.structure == s.structure, t.linears == s.linears, t.floatTensors == s.floatTensors else {
            throw TrainingError.shapesDiffer(teacher: teacher.directory, student: start.directory)
        }
        self.teacher = try Transformer(checkpoint: teacher)
        student = try Transformer(checkpoint: start, signGradient: recipe.signGradient)
        self.start = start
        self.recipe = recipe
    }

    /// Bytes of teacher, student, gradients and AdamW's moments, all float32. Activations come on top, and another copy of
    /// the gradients for each further worker of a small model.
    public var stateBytes: Int { 4 * (teacher.parameterCount + 4 * student.parameterCount) }

    /// Bytes of one training checkpoint: weights and both moments.
    public var checkpointBytes: Int { 4 * 3 * student.parameterCount }

    /// Trains the student and writes it as a float checkpoint.
    ///
    /// - Parameters:
    ///   - corpus: One stream of tokens.
    ///   - budget: Steps, batch and sequence length.
    ///   - threads: Threads in all; as many as there are cores where nil.
    ///   - output: The directory to make, with `training_log.jsonl` beside the weights.
    ///   - overwrite: Whether a directory that stands there is replaced.
    ///   - checkpoints: When the state is saved, and whether an earlier one is resumed; nil saves nothing.
    ///   - observe: Told of every step; when it throws, the state is saved for a resumption.
    /// - Returns: What every step did.
    @discardableResult
    public func run(
        corpus: [Int32],
        budget: TrainingBudget,
        threads: Int? = nil,
        output: URL,
        overwrite: Bool,
        checkpoints: CheckpointPolicy?,
        observe: (TrainingEvent) throws -> Void
    ) throws -> [TrainingEvent] {
        try StagedDirectory.write(to: output, overwrite: overwrite) { directory in
            let plan = recipe.plan(
                budget: budget, threads: threads, parameters: student.configuration.parameterCount)
            let teacher = teacher
            let loop = try TrainingLoop(model: student, plan: plan, tokens: corpus)
            let loss = DistillationLoss(weights: recipe.lossWeights)
            let keepsStates = recipe.lossWeights.hiddenStates != 0
            let events = try loop.run(policy: checkpoints, observe: observe) { student, tokens in
                let target = try withoutGradient { try teacher(tokens, hiddenStates: keepsStates) }
                return try loss(teacher: target, student: student(tokens, hiddenStates: keepsStates), tokens: tokens)
            }
            try student.write(to: directory, elementType: .float32, packsLossless: true)
            let configuration = start.configuration
            try writeAtomically(
                try configuration.jsonData(quantization: configuration.quantization),
                to: directory.appending(path: "config.json"))
            try start.copyAuxiliaryFiles(to: directory)
            try writeTrainingLog(events, to: directory)
            return events
        }
    }
}
