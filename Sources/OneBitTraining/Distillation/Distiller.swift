import Foundation
import ModelDescription
import ResumableRuns
import TensorFiles
import Torch

/// Knowledge distillation from a dense teacher into its OneBit student (paper §3.4).
public struct Distiller {
    private let teacher: Transformer
    private let student: Transformer
    private let start: Checkpoint
    private let configuration: DistillationConfiguration
    private let execution: Execution
    /// Digests of teacher and start.
    private let inputs: [String: ContentDigest]

    /// - Parameters:
    ///   - teacher: The original checkpoint.
    ///   - start: The student before training, as `StudentInitializer` writes it.
    ///   - configuration: Loss, optimizer, budget and seed.
    ///   - execution: Threads, device.
    /// - Throws: ``TrainingError`` where they are not a teacher and a student of one shape, and what reading throws.
    public init(
        teacher: Checkpoint, start: Checkpoint, configuration: DistillationConfiguration,
        execution: Execution = Execution()
    ) throws {
        try teacher.require(.dense)
        try start.require(.floatStudent)
        let (t, s) = (teacher.configuration, start.configuration)
        guard t.structure == s.structure, t.linears == s.linears, t.floatTensors == s.floatTensors else {
            throw TrainingError.shapesDiffer(teacher: teacher.directory, student: start.directory)
        }
        self.teacher = try Transformer(
            checkpoint: teacher, computeType: configuration.precision.dtype, keepsFileTypes: true,
            device: execution.device, streamsBlocks: execution.placement == .streamed)
        student = try Transformer(
            checkpoint: start, computeType: configuration.precision.dtype, signProducts: execution.signProducts,
            device: execution.device)
        inputs = ["teacher": try ContentDigest(of: teacher), "start": try ContentDigest(of: start)]
        self.start = start
        self.configuration = configuration
        self.execution = execution
    }

    /// The teacher, to be compared with; its weights are in memory once.
    public var evaluatedTeacher: TorchModel { TorchModel(teacher, threads: execution.threads) }

    /// Bytes of one training checkpoint: trained weights and both moments.
    public var checkpointBytes: Int {
        let trained = student.parameters.filter { configuration.optimizer.learningRates[$0.group] > 0 }
        return 4 * 3 * trained.reduce(0) { $0 + $1.elementCount }
    }

    /// Trains the student and writes it as a float checkpoint.
    ///
    /// - Parameters:
    ///   - corpus: What is trained on.
    ///   - output: The directory to make, with `training_log.jsonl` beside the weights.
    ///   - overwrite: Whether a directory that stands there is replaced.
    ///   - checkpoints: When the state is saved, and whether an earlier one is resumed; nil saves nothing.
    ///   - monitor: Watches the run; what it wrote is copied into the output.
    ///   - observe: Receives every step; when it throws, the state is saved for a resumption.
    /// - Returns: What every step did.
    /// - Throws: ``TrainingError``; `CancellationError` within a step, with the state after the last whole one saved.
    @discardableResult
    public func run(
        corpus: TrainingCorpus,
        output: URL,
        overwrite: Bool,
        checkpoints: CheckpointPolicy?,
        monitor: TrainingMonitor? = nil,
        observe: (TrainingEvent) throws -> Void
    ) throws -> [TrainingEvent] {
        // All ranks compute, and gather what is written; the first writes it.
        guard execution.group.rank == 0 else {
            return try run(corpus: corpus, checkpoints: checkpoints, monitor: monitor, observe: observe) {
                loop, student, _ in
                for place in student.parameters.indices { _ = try loop.numbers(of: place) }
            }
        }
        return try StagedDirectory.write(to: output, overwrite: overwrite) { directory in
            try run(corpus: corpus, checkpoints: checkpoints, monitor: monitor, observe: observe) {
                loop, student, events in
                try student.write(
                    to: directory, elementType: .float32, packsLossless: true, values: loop.numbers(of:))
                let configuration = start.configuration
                try writeAtomically(
                    try configuration.jsonData(quantization: configuration.quantization),
                    to: directory.appending(path: "config.json"))
                try start.copyAuxiliaryFiles(to: directory)
                try writeAtomically(trainingLog(events), to: directory.appending(path: "training_log.jsonl"))
                try monitor?.copy(to: directory)
            }
        }
    }

    private func run(
        corpus: TrainingCorpus, checkpoints: CheckpointPolicy?, monitor: TrainingMonitor?,
        observe: (TrainingEvent) throws -> Void, finish: (TrainingLoop, Transformer, [TrainingEvent]) throws -> Void
    ) throws -> [TrainingEvent] {
        let loop = try TrainingLoop(
            model: student, objective: .distillation(teacher: teacher, weights: configuration.loss.weights),
            signGradient: configuration.loss.signGradient, tokens: corpus, budget: configuration.budget,
            optimizer: configuration.optimizer, precision: configuration.precision, seed: configuration.seed,
            settings: configuration.training, inputs: inputs, execution: execution,
            initial: { [start] parameter, rows in
                try start.tensor(parameter.name).narrowed(0, from: rows.lowerBound, length: rows.count)
            })
        return try loop.run(policy: checkpoints, monitor: monitor, observe: observe) { try finish(loop, $0, $1) }
    }
}
