import Foundation
import LanguageModel
import ModelDescription
import ResumableRuns
import SignDecomposition
import TensorFiles
import Torch

/// Makes the start checkpoint of a student from a dense teacher and a text: every layer's signs and scales are fitted to what
/// the teacher gives on it.
///
/// Block by block, in the order of the model. Of each block, the layers that read one vector (q, k, v; o; gate, up; down) are
/// fitted together, on the inputs that the student with all layers before them calibrated already gives them, to the
/// outputs that the teacher gives on its own. In memory are one block of each, and the residual streams of both for all
/// calibration tokens; the checkpoint is written tensor by tensor.
public struct CalibratedInitializer: Sendable {
    /// What to make of each layer.
    public var recipe: StartRecipe
    public var settings: CalibrationSettings
    /// Of the decompositions' random starts.
    public var seed: UInt64
    /// Threads, device.
    public var execution: Execution

    public init(
        recipe: StartRecipe, settings: CalibrationSettings, seed: UInt64 = 0, execution: Execution = Execution()
    ) {
        self.recipe = recipe
        self.settings = settings
        self.seed = seed
        self.execution = execution
    }

    /// How well one layer was fitted.
    public struct LayerReport: Sendable, Hashable {
        /// The layer, e.g. `model.layers.0.self_attn.q_proj`.
        public let name: String
        /// ‖X Ŵᵀ − Y‖ / ‖Y‖ on the calibration text, the pull towards the teacher's weights included.
        public let relativeError: Double
    }

    /// Called after each tensor with the weights done and those of the whole model, and the last layer's report.
    public typealias Progress = (_ completed: Int, _ total: Int, LayerReport?) throws -> Void

    /// Reads `teacher`, writes the float student to `destination`; nothing is there until it is complete.
    ///
    /// - Parameters:
    ///   - teacher: A dense checkpoint.
    ///   - text: Its tokens; sequences are taken at equal distances from all of each stream.
    ///   - destination: The directory to make.
    ///   - overwrite: Whether a directory that stands there is replaced.
    ///   - progress: Receives what is done.
    /// - Returns: A report for every layer.
    /// - Throws: ``CalibrationError``, ``TrainingError/corpusTooShort(tokens:segment:)``, `LanguageModelError` where memory
    ///   does not suffice, the errors of checkpoints and their files, `CancellationError`; the destination is then untouched.
    @discardableResult
    public func run(
        teacher: Checkpoint, text: TrainingCorpus, destination: URL, overwrite: Bool = false,
        progress: Progress = { _, _, _ in }
    ) throws -> [LayerReport] {
        try teacher.require(.dense)
        try teacher.validateOutput(destination)
        try validate(for: teacher.configuration)
        let sequences = try sequences(of: text)
        try AvailableMemory.require(
            cost(for: teacher.configuration, textTokens: text.count).bytes, for: "Calibration")
        return try StagedDirectory.write(to: destination, overwrite: overwrite) { directory in
            let reports = try withoutActuallyEscaping(progress) { progress in
                try withStopTest(threadsPerOperation: threadsPerOperation(for: teacher.configuration)) {
                    try CalibrationRun(
                        teacher: teacher, sequences: sequences, initializer: self, directory: directory,
                        progress: progress
                    ).run()
                }
            }
            let quantization = QuantizationConfiguration(
                checkpointFormat: .float, postLayerNorm: false, valueType: .float32,
                inputScales: recipe.inputScales)
            try writeAtomically(
                teacher.configuration.jsonData(quantization: quantization),
                to: directory.appending(path: "config.json"))
            try teacher.copyAuxiliaryFiles(to: directory)
            return reports
        }
    }

    /// - Throws: ``CalibrationError``, `RunError.invalidSetting`
    public func validate(for teacher: ModelConfiguration) throws {
        guard !recipe.postLayerNorm else { throw CalibrationError.layerNormBehindLayers }
        guard recipe.method != .copy else { throw CalibrationError.unitScales }
        try settings.validate(for: teacher)
    }

    /// Sequences of equal length: of each stream its share, at equal distances.
    private func sequences(of text: TrainingCorpus) throws -> [[Int]] {
        let length = settings.sequenceLength
        var sequences: [[Int]] = []
        for (part, share) in zip(text.parts, text.shares) {
            let available = part.tokens.count / length
            let count = min(available, Int((share * Double(settings.tokens / length)).rounded()))
            for index in 0..<count {
                let first = index * available / count * length
                var sequence: [Int] = []
                try part.tokens.forEach(in: first..<first + length) { sequence.append($0) }
                sequences.append(sequence)
            }
        }
        guard !sequences.isEmpty else { throw TrainingError.corpusTooShort(tokens: text.count, segment: length) }
        return sequences
    }

    /// What a calibration takes.
    public struct Cost: Sendable, Hashable {
        /// Tokens that are calibrated on.
        public let tokens: Int
        /// Bytes of the residual streams, one block of each model, and the largest layer's problem.
        public let bytes: Int
        /// Multiplications with an addition each.
        public let multiplications: Double

        /// Seconds on this machine, at the rate of one product of matrices that is timed now.
        public func seconds() throws -> Double {
            let size = 768
            let matrix = try Tensor.full(1, shape: [size, size])
            _ = try matrix.linear(matrix)
            let begin = ContinuousClock.now
            for _ in 0..<4 { _ = try matrix.linear(matrix) }
            let rate = 4 * Double(size * size * size) / ((ContinuousClock.now - begin) / .seconds(1))
            return multiplications / rate
        }
    }

    /// What a calibration takes, for a text of so many tokens.
    public func cost(for teacher: ModelConfiguration, textTokens: Int) -> Cost {
        let length = settings.sequenceLength
        let tokens = min(textTokens / length, settings.tokens / length) * length
        let streams =
            tokens
            * ((settings.blockSteps > 0 ? 3 : 2) * teacher.hiddenSize + teacher.attentionHeadCount * teacher.headSize)
        let linears = teacher.blockLinears(layer: 0)
        let block = linears.reduce(0) { $0 + $1.weightCount }
        let largestInput = linears.map(\.inputs).max() ?? 0
        let largestLayer = linears.map(\.weightCount).max() ?? 0
        // The Gram matrix, damped and factored; of a layer C, W, T, ŵ, and the copies that files and Swift want.
        let problem = 3 * largestInput * largestInput + 8 * largestLayer
        let chunk = Self.chunkTokens(sequenceLength: length) * 6 * max(teacher.intermediateSize, teacher.hiddenSize)
        // Forward twice through most of either block, sums of products, then the layers' equations.
        let perToken =
            linears.reduce(0.0) { $0 + 4.5 * Double($1.weightCount) }
            + [linears[0].inputs, linears[3].inputs, teacher.hiddenSize, teacher.intermediateSize]
            .reduce(0.0) { $0 + Double($1 * $1) * 0.6 }
        let perBlock = linears.reduce(0.0) {
            $0 + Double($1.weightCount) * Double($1.inputs) * Double(4 + 2 * settings.sweeps)
        }
        let trainedTokens = settings.blockSteps * BlockTraining.stepTokens(sequenceLength: length)
        let training = 4 * Double(block) * Double(trainedTokens)
        // Latent weights, gradients and both moments; a step's activations.
        let trained = trainedTokens > 0 ? 4 * block + 2 * chunk : 0
        return Cost(
            tokens: tokens,
            bytes: settings.storage.byteWidth * streams + 4 * (2 * block + problem + chunk + trained),
            multiplications: Double(teacher.layerCount) * (perToken * Double(tokens) + perBlock + training))
    }

    /// Tokens of one pass through a block.
    static func chunkTokens(sequenceLength: Int) -> Int { max(1, 1024 / sequenceLength) * sequenceLength }

    private func threadsPerOperation(for teacher: ModelConfiguration) -> Int {
        Collective(threads: execution.threads, parameters: teacher.parameterCount).threadsPerWorker
    }
}
