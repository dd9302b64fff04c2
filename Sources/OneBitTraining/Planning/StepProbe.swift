import Foundation
import ModelDescription
import SignDecomposition
import Torch

/// What a step of a distillation costs on this machine.
public struct StepCost: Sendable, Hashable, Codable {
    /// Seconds of forward and backward passes by token.
    public var secondsPerToken: Double
    /// Seconds of one optimizer step.
    public var optimizerSeconds: Double
}

/// Measures a training step in seconds instead of minutes: blocks are alike, so it runs the step on models of the teacher's
/// first block and of its first three, and takes the rest from
///
///     t(n blocks) = t_outer + n · t_block.
///
/// The student has the teacher's signs: what a product costs does not depend on which signs they are.
struct StepProbe {
    private let teacher: Checkpoint
    private let configuration: DistillationConfiguration
    private let execution: Execution

    /// Blocks of the larger model.
    private static let blocks = 3
    /// Products of weights and tokens that a pass takes, and a rate that no machine stays below: a measurement takes about
    /// as long as these say, at the most.
    private static let passesOverWeights = 10.0
    private static let slowestRate = 3e10
    private static let longestPass = 5.0

    init(teacher: Checkpoint, configuration: DistillationConfiguration, execution: Execution) {
        self.teacher = teacher
        self.configuration = configuration
        self.execution = execution
    }

    /// - Throws: `CancellationError`, and what reading throws.
    func measure() throws -> StepCost {
        let model = teacher.configuration
        let collective = Collective(
            threads: execution.threads, parameters: model.parameterCount, device: execution.device)
        let small = try cost(blocks: 1, threads: collective.threadsPerWorker)
        let count = min(Self.blocks, model.layerCount)
        let perBlock: StepCost
        if count > 1 {
            let large = try cost(blocks: count, threads: collective.threadsPerWorker)
            func slope(_ path: KeyPath<StepCost, Double>) -> Double {
                max(0, large[keyPath: path] - small[keyPath: path]) / Double(count - 1)
            }
            perBlock = StepCost(
                secondsPerToken: slope(\.secondsPerToken), optimizerSeconds: slope(\.optimizerSeconds))
        } else {
            perBlock = StepCost(secondsPerToken: 0, optimizerSeconds: 0)
        }
        let rest = Double(model.layerCount - 1)
        return StepCost(
            secondsPerToken: (small.secondsPerToken + rest * perBlock.secondsPerToken) / Double(collective.workers),
            optimizerSeconds: small.optimizerSeconds + rest * perBlock.optimizerSeconds)
    }

    private func cost(blocks: Int, threads: Int) throws -> StepCost {
        let (target, student) = try models(blocks: blocks)
        return try Self.cost(
            student, objective: .distillation(teacher: target, weights: configuration.loss.weights),
            optimizer: configuration.optimizer, signGradient: configuration.loss.signGradient,
            shape: try passShape(target.configuration), threads: threads,
            keepsStateOnHost: execution.placement.keepsStateOnHost, keptActivations: execution.keptActivations)
    }

    /// What a step of a whole model costs, measured on a pass of `shape`.
    static func cost(
        _ student: Transformer, objective: TrainingObjective, optimizer settings: OptimizerSettings,
        signGradient: SignGradient, shape: PassShape, threads: Int, keepsStateOnHost: Bool = false,
        keptActivations: Int = Execution.fewActivations
    ) throws -> StepCost {
        setOperationThreads(threads)
        let device = student.device
        let known = student.trainedParameters(settings.learningRates)
        let index = Dictionary(uniqueKeysWithValues: known.enumerated().map { ($1.place, $0) })
        let optimizer = try ShardedOptimizer(
            known.map(\.parameter), settings: settings, signGradient: signGradient, device: device,
            keepsStateOnHost: keepsStateOnHost
        ) {
            try .full(1e-3, shape: [$1.count] + $0.shape.dropFirst(), device: device)
        }
        let (recorded, leaves) = try student.recordingGradients(of: Set(known.map(\.place)))
        let schedule = BlockSchedule(objective: objective, keptActivations: keptActivations)
        var random = SplitMix64(seed: 0)
        let vocabulary = student.configuration.vocabularySize
        let tokens = try Tensor.integers(
            (0..<shape.tokens).map { _ in Int.random(in: 0..<vocabulary, using: &random) },
            shape: [shape.sequences, shape.length], device: device)

        var best = StepCost(secondsPerToken: .infinity, optimizerSeconds: .infinity)
        for step in 1...2 {  // the first warms caches and memory
            try checkCancellation()
            let begin = ContinuousClock.now
            let parts = try schedule(
                recorded, leaves: leaves, tokens: tokens, share: 1,
                lend: { try index[$0].flatMap(optimizer.sum) },
                receive: { found in
                    try optimizer.add(found.compactMap { place, gradient in index[place].map { ($0, gradient) } })
                })
            _ = try parts.floats()
            try device.synchronize()
            let middle = ContinuousClock.now
            _ = try optimizer.step(step, factor: 0) { try student.parameters[$0].value.numbers() }
            try device.synchronize()
            best.secondsPerToken = min(best.secondsPerToken, (middle - begin) / .seconds(1) / Double(shape.tokens))
            best.optimizerSeconds = min(best.optimizerSeconds, (ContinuousClock.now - middle) / .seconds(1))
        }
        return best
    }

    /// Sequences of a pass, and their length.
    struct PassShape {
        var sequences = 1
        var length: Int
        var tokens: Int { sequences * length }
    }

    /// On a device the run's own micro-batch, because a smaller one leaves it idle; on the CPU, where the rate hardly depends
    /// on it, one sequence that takes no longer than ``longestPass`` on a slow machine.
    private func passShape(_ model: ModelConfiguration) throws -> PassShape {
        let budget = configuration.budget
        guard execution.device == .cpu else {
            let batches = execution.microBatches(of: budget.batchSize, sequenceLength: budget.sequenceLength)
            return PassShape(sequences: batches.first?.count ?? 1, length: budget.sequenceLength)
        }
        let work = Double(model.parameterCount) * Self.passesOverWeights
        let affordable = Int(Self.longestPass * Self.slowestRate / work)
        let largest = min(512, budget.sequenceLength, model.maximumPositions)
        return PassShape(length: max(min(64, largest), min(largest, affordable)))
    }

    /// The first blocks of the teacher, and a student of the same shape.
    private func models(blocks: Int) throws -> (teacher: Transformer, student: Transformer) {
        let shape = try teacher.configuration.prefix(layers: blocks)
        let device = execution.device
        let type = configuration.precision.dtype
        let target = try Transformer(configuration: shape, computeType: type, device: device) { name, _ in
            .tensor(try teacher.tensor(name).converted(to: teacher.tensor(name).dtype, device: device))
        }
        var lengths: [String: Int] = [:]
        for linear in shape.linears {
            lengths[linear.inputScaleName] = linear.inputs
            lengths[linear.outputScaleName] = linear.outputs
        }
        let oneBit = OneBitSettings(layerNormEpsilon: configuration.start.postLayerNorm ? 1e-5 : nil)
        let student = try Transformer(
            configuration: shape, oneBit: oneBit, computeType: type, device: device
        ) { name, group in
            if let length = lengths[name] { return .tensor(try .full(0.1, shape: [length], device: device)) }
            let tensor = try teacher.tensor(name).converted(to: .float32, device: device)
            return group == .latent ? .signs(try SignMatrix(signsOf: tensor)) : .tensor(tensor)
        }
        return (target, student)
    }
}

extension Distiller {
    /// Measures, in seconds, what a step costs on this machine.
    ///
    /// - Throws: `CancellationError`, and what reading throws.
    public static func measureStep(
        teacher: Checkpoint, configuration: DistillationConfiguration, execution: Execution
    ) throws -> StepCost {
        // What the measurement had is to be there for the run.
        defer { try? execution.device.releaseCachedMemory() }
        return try StepProbe(teacher: teacher, configuration: configuration, execution: execution).measure()
    }
}
