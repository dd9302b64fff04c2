import Foundation
import ModelDescription
import TensorFiles

/// Makes the start checkpoint of a student from a dense teacher.
///
/// Tensor by tensor: read, decompose, write, released. Memory is bounded by the largest tensor, not by the model.
public struct StudentInitializer: Sendable {
    /// What to make of each linear.
    public var recipe: StartRecipe
    /// Of NMF's random starts; each layer draws its own numbers from it.
    public var seed: UInt64
    /// When a factorization stops.
    public var limits: DecompositionLimits
    /// Data bytes per file of the result.
    public var shardByteLimit: Int

    /// An initializer with a recipe.
    public init(
        recipe: StartRecipe,
        seed: UInt64 = 0,
        limits: DecompositionLimits = DecompositionLimits(),
        shardByteLimit: Int = CheckpointWriter.defaultShardByteLimit
    ) {
        self.recipe = recipe
        self.seed = seed
        self.limits = limits
        self.shardByteLimit = shardByteLimit
    }

    /// How well one layer's magnitudes were approximated.
    public struct LayerReport: Sendable, Hashable {
        /// The layer, e.g. `model.layers.0.self_attn.q_proj`.
        public let name: String
        /// ‖|W| − a bᵀ‖_F / ‖W‖_F; also the relative distance of sign(W) ⊙ a bᵀ from W.
        public let relativeResidual: Double
        /// Rounds of the factorization.
        public let iterations: Int
    }

    /// Reads `teacher`, writes the float student to `destination`; nothing is there until it is complete.
    ///
    /// - Returns: a report for every linear.
    /// - Throws: ``DecompositionError``, the errors of checkpoints and their files, `CancellationError`; the destination is then untouched.
    @discardableResult
    public func run(
        teacher: Checkpoint,
        destination: URL,
        overwrite: Bool = false,
        progress: ProgressCallback = { _, _ in }
    ) throws -> [LayerReport] {
        try teacher.require(.dense)
        try teacher.validateOutput(destination)
        return try StagedDirectory.write(to: destination, overwrite: overwrite) { directory in
            let reports = try writeTensors(of: teacher, to: directory, progress: progress)
            let quantization = QuantizationConfiguration(
                checkpointFormat: .float,
                postLayerNorm: recipe.postLayerNorm,
                valueType: .float32,
                inputScales: recipe.inputScales
            )
            try writeAtomically(
                teacher.configuration.jsonData(quantization: quantization),
                to: directory.appending(path: "config.json")
            )
            try teacher.copyAuxiliaryFiles(to: directory)
            return reports
        }
    }

    private func writeTensors(
        of teacher: Checkpoint,
        to directory: URL,
        progress: ProgressCallback
    ) throws -> [LayerReport] {
        let configuration = teacher.configuration
        // Latent weights are trained: float32. Whatever stays as it is keeps the type it has.
        let plan = try configuration.tensorPlan(kind: .floatStudent, weightType: .float32, valueType: .float32) {
            try teacher.description(of: $0.name).elementType
        }
        let writer = try CheckpointWriter(directory: directory, tensors: plan, shardByteLimit: shardByteLimit)
        let total = configuration.parameterCount
        var completed = 0
        var reports: [LayerReport] = []
        var shared = SharedDecompositions(initializer: self, teacher: teacher)
        for part in configuration.parts {
            try Task.checkCancellation()
            switch part {
            case .float(let tensor):
                // By way of floats, which refuses NaN and infinity; exact for every float type.
                try writer.write(tensor.name, floats: teacher.floats(of: tensor.name))
                try teacher.releasePages(of: tensor.name)
                completed += tensor.elementCount
            case .linear(let linear):
                reports.append(try write(linear, number: reports.count, of: teacher, &shared, with: writer))
                try teacher.releasePages(of: linear.weightName)
                completed += linear.weightCount
            }
            try progress(completed, total)
        }
        try writer.finish()
        return reports
    }

    private func write(
        _ linear: LinearDescription,
        number: Int,
        of teacher: Checkpoint,
        _ shared: inout SharedDecompositions,
        with writer: CheckpointWriter
    ) throws -> LayerReport {
        var weight = try teacher.floats(of: linear.weightName)
        let result = try attributingErrors(to: linear.weightName, of: teacher.directory) {
            if recipe.inputScales == .shared { return try shared.decomposition(of: linear, number: number) }
            return try decompose(
                weight,
                rows: linear.outputs,
                columns: linear.inputs,
                method: recipe.method,
                scaleSplit: recipe.scaleSplit,
                seed: seed &+ UInt64(number),
                limits: limits
            )
        }
        let norm = weight.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        if recipe.latent == .sign {
            for index in weight.indices {
                weight[index] = weight[index] < 0 ? -StartRecipe.signMagnitude : StartRecipe.signMagnitude
            }
        }
        try writer.write(linear.weightName, floats: weight)
        try writer.write(linear.outputScaleName, floats: result.outputScale)
        try writer.write(linear.inputScaleName, floats: result.inputScale)
        return LayerReport(
            name: linear.name,
            relativeResidual: norm > 0 ? result.residual / norm : 0,
            iterations: result.iterations
        )
    }
}

/// The decompositions of layers that share an input scale, made when the first of them is asked for.
private struct SharedDecompositions {
    let initializer: StudentInitializer
    let teacher: Checkpoint
    private var made: [String: SignValueDecomposition] = [:]

    init(initializer: StudentInitializer, teacher: Checkpoint) {
        self.initializer = initializer
        self.teacher = teacher
    }

    /// - Parameter number: of the layer, for the seed.
    mutating func decomposition(of linear: LinearDescription, number: Int) throws -> SignValueDecomposition {
        if let found = made.removeValue(forKey: linear.name) { return found }
        let block = teacher.configuration.block(linear.layer)
        let group = block.inputGroups.first { $0.contains(linear) } ?? [linear]
        let weights = try group.map { linear in
            let weight = try teacher.floats(of: linear.weightName)
            try teacher.releasePages(of: linear.weightName)
            return weight
        }
        let decompositions = try decomposeTogether(
            weights, columns: linear.inputs, groups: linear == block.output ? HeadGroups(teacher.configuration) : nil,
            method: initializer.recipe.method, scaleSplit: initializer.recipe.scaleSplit,
            seed: initializer.seed &+ UInt64(number), limits: initializer.limits)
        for (linear, decomposition) in zip(group, decompositions) { made[linear.name] = decomposition }
        return made.removeValue(forKey: linear.name) ?? decompositions[0]
    }
}

/// What the student's latent weight starts from.
public enum LatentWeight: String, Sendable, CaseIterable, Codable {
    /// 0.01 · sign(W): the paper's.
    case sign
    /// W itself: its distance from zero then says how certain a sign is.
    case weight
}

/// The choices that make a start checkpoint, and the two presets of the design.
public struct StartRecipe: Sendable, Hashable, Codable {
    /// How |W| becomes g and h.
    public var method: DecompositionMethod
    /// What the latent weight is.
    public var latent: LatentWeight
    /// How g and h share the scale.
    public var scaleSplit: ScaleSplit
    /// Whether a LayerNorm follows every one-bit linear.
    public var postLayerNorm: Bool
    /// Which layers have an input scale of their own.
    public var inputScales: QuantizationConfiguration.InputScales

    /// A recipe of its own.
    public init(
        method: DecompositionMethod, latent: LatentWeight, scaleSplit: ScaleSplit, postLayerNorm: Bool,
        inputScales: QuantizationConfiguration.InputScales = .own
    ) {
        self.method = method
        self.latent = latent
        self.scaleSplit = scaleSplit
        self.postLayerNorm = postLayerNorm
        self.inputScales = inputScales
    }

    /// The paper's (§3.2 and its released code).
    public static let paper = StartRecipe(method: .nmf, latent: .sign, scaleSplit: .nmf, postLayerNorm: true)
    /// The best that this project has measured; see dev/LOG.md.
    public static let standard = StartRecipe(
        method: .nmf,
        latent: .weight,
        scaleSplit: .balanced,
        postLayerNorm: false
    )

    /// Magnitude of the latent weight where it is made of signs alone.
    public static let signMagnitude: Float = 0.01
}

/// Called after each tensor with the work done and the whole, both in weights.
public typealias ProgressCallback = (_ completed: Int, _ total: Int) throws -> Void
