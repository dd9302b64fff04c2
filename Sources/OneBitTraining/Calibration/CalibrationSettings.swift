import Foundation
import ModelDescription
import ResumableRuns
import Torch

/// How a start checkpoint is calibrated: what it computes, besides teacher, text and `StartRecipe`.
public struct CalibrationSettings: Sendable, Hashable, Codable {
    /// Tokens of text; fewer where the text is shorter.
    public var tokens: Int
    /// Tokens per sequence.
    public var sequenceLength: Int
    /// λ: how strongly a layer holds on to the teacher's weights, as a part of the mean square of its inputs.
    public var damping: Double
    /// Sweeps in which signs are chosen again, after the first pass.
    public var sweeps: Int
    /// How much of the difference between the teacher's and the student's residual stream a layer that adds to the stream
    /// makes up for: 0 imitates the teacher's layer, 1 aims at the teacher's stream.
    public var residualCorrection: Double
    /// Optimizer steps that each block is trained for once its layers are fitted; 0 for none.
    public var blockSteps: Int
    /// Peak learning rate of these steps.
    public var blockLearningRate: Double
    /// What the residual streams are kept in.
    public var storage: StreamStorage

    /// What the residual streams of all calibration tokens are kept in, in host memory.
    public enum StreamStorage: String, Sendable, Hashable, Codable, CaseIterable {
        case float32, float16

        var dtype: DType { self == .float32 ? .float32 : .float16 }
        var byteWidth: Int { self == .float32 ? 4 : 2 }
    }

    /// Settings with the defaults that have been measured (dev/LOG.md).
    ///
    /// - Parameters:
    ///   - teacher: The model that is calibrated to.
    ///   - longest: Most tokens per sequence.
    public init(for teacher: ModelConfiguration, longestSequence longest: Int = 512) {
        tokens = 16_384
        sequenceLength = min(512, longest, teacher.maximumPositions)
        damping = 0.01
        sweeps = 2
        residualCorrection = 1
        blockSteps = 0
        blockLearningRate = 1e-3
        storage = .float32
    }

    /// - Throws: `RunError.invalidSetting`
    func validate(for teacher: ModelConfiguration) throws {
        func check(_ isValid: Bool, _ name: String, _ value: Any, _ expected: String) throws {
            guard isValid else { throw RunError.invalidSetting(name: name, value: "\(value)", expected: expected) }
        }
        try check(
            (2...teacher.maximumPositions).contains(sequenceLength), "sequence length", sequenceLength,
            "2 to the model's \(teacher.maximumPositions) positions")
        try check(tokens >= sequenceLength, "calibration tokens", tokens, "one sequence of \(sequenceLength) or more")
        try check(damping > 0 && damping.isFinite, "damping", damping, "a number above 0")
        try check((0...100).contains(sweeps), "sweeps", sweeps, "0 to 100")
        try check((0...1).contains(residualCorrection), "residual correction", residualCorrection, "0 to 1")
        try check((0...1_000_000).contains(blockSteps), "block-wise steps", blockSteps, "0 or more")
        try check(
            blockLearningRate > 0 && blockLearningRate < 1, "block-wise learning rate", blockLearningRate,
            "a number above 0 and below 1")
    }
}

/// When a distillation is given a calibrated start.
public enum CalibrationPolicy {
    /// Trained tokens per parameter of the model from which on the start is better left alone. stories260K gained at 0.5, at
    /// rates of 1e-3 and 3e-3, and lost 0.3 to 1.1 % of perplexity at 0.8, 4 to 7 % at 2.4 (dev/LOG.md); the default preset
    /// trains on 2.
    static let mostTokensPerParameter = 0.6

    /// The settings for a run of this length; nil where it does as well without, and where its recipe cannot be
    /// calibrated.
    public static func settings(
        for configuration: DistillationConfiguration, teacher: ModelConfiguration
    ) -> CalibrationSettings? {
        let start = configuration.start
        guard !start.postLayerNorm, start.method != .copy, case .steps(let steps) = configuration.budget.length,
            Double(steps) * Double(configuration.budget.tokensPerStep)
                < mostTokensPerParameter * Double(teacher.parameterCount)
        else { return nil }
        return CalibrationSettings(for: teacher, longestSequence: configuration.budget.sequenceLength)
    }
}

/// Why a start cannot be calibrated.
public enum CalibrationError: LocalizedError, Sendable, Hashable {
    /// A LayerNorm follows each layer.
    case layerNormBehindLayers
    /// g and h are to stay as they are.
    case unitScales
    /// Inputs or outputs of a layer are NaN or infinite on the calibration text.
    case notFinite(directory: URL, layer: String)
    /// No damping makes the squared inputs of a layer a matrix that can be factored.
    case singular(directory: URL, layer: String)

    public var errorDescription: String? {
        switch self {
        case .layerNormBehindLayers:
            "Calibration fits each layer's signs and scales to the teacher's outputs, and a LayerNorm behind the layer "
                + "would replace the scale and mean of what was fitted."
        case .unitScales:
            "Calibration fits the value vectors g and h, and the method \"copy\" leaves them at 1."
        case .notFinite(let directory, let layer):
            "\(directory.path): on the calibration text, inputs or outputs of \(layer) are not finite numbers."
        case .singular(let directory, let layer):
            "\(directory.path): the inputs of \(layer) on the calibration text are too unlike in size to be fitted."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .layerNormBehindLayers: "Leave the LayerNorm out, or do not calibrate."
        case .unitScales: "Choose another method, or do not calibrate."
        case .notFinite: "Check that the teacher predicts this text."
        case .singular: "Take more text, or a larger damping."
        }
    }
}
