import ArgumentParser
import Foundation
import ModelDescription
import OneBitTraining
import SignDecomposition
import Tokenization

extension CalibrationSettings.StreamStorage: ExpressibleByArgument {}

/// How a start checkpoint is calibrated.
struct CalibrationOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Tokens of text to calibrate on; 16,384 unless given.", valueName: "n"))
    var calibrationTokens: Int?

    @Option(
        help: ArgumentHelp(
            "Tokens per sequence of the calibration text; 512, or the model's context if it is shorter.",
            valueName: "n"))
    var calibrationSequenceLength: Int?

    @Option(
        help: ArgumentHelp(
            "How strongly layers hold on to the teacher's weights, as a part of the mean square of their inputs; 0.01.",
            valueName: "x"))
    var calibrationDamping: Double?

    @Option(help: ArgumentHelp("Sweeps in which signs are chosen again; 2.", valueName: "n"))
    var calibrationSweeps: Int?

    @Option(
        help: ArgumentHelp(
            "How much of the error of the layers before a layer that adds to the residual stream makes up for, 0 to 1; 1.",
            valueName: "x"))
    var calibrationCorrection: Double?

    @Option(
        help: ArgumentHelp(
            "Steps that each block is trained for, by itself, once its layers are fitted; none unless given.",
            valueName: "n"))
    var blockWise: Int?

    @Option(help: ArgumentHelp("Peak learning rate of these steps; 0.001.", valueName: "x"))
    var blockWiseLearningRate: Double?

    @Option(
        help: ArgumentHelp("What activations are kept in: float32, or float16 in half the memory.", valueName: "type"))
    var calibrationStorage: CalibrationSettings.StreamStorage?

    func validate() throws {
        try check("--calibration-tokens", calibrationTokens, "2 or more") { $0 >= 2 }
        try check("--calibration-sequence-length", calibrationSequenceLength, "2 or more") { $0 >= 2 }
        try check("--calibration-damping", calibrationDamping, "above 0") { $0 > 0 }
        try check("--calibration-sweeps", calibrationSweeps, "between 0 and 100") { (0...100).contains($0) }
        try check("--calibration-correction", calibrationCorrection, "between 0 and 1") { (0...1).contains($0) }
        try check("--block-wise", blockWise, "between 0 and 1,000,000") { (0...1_000_000).contains($0) }
        try check("--block-wise-learning-rate", blockWiseLearningRate, "above 0 and below 1") { $0 > 0 && $0 < 1 }
    }

    /// Puts these choices in place of the defaults.
    func apply(to settings: CalibrationSettings) -> CalibrationSettings {
        var settings = settings
        settings.tokens = calibrationTokens ?? settings.tokens
        settings.sequenceLength = calibrationSequenceLength ?? settings.sequenceLength
        settings.damping = calibrationDamping ?? settings.damping
        settings.sweeps = calibrationSweeps ?? settings.sweeps
        settings.residualCorrection = calibrationCorrection ?? settings.residualCorrection
        settings.blockSteps = blockWise ?? settings.blockSteps
        settings.blockLearningRate = blockWiseLearningRate ?? settings.blockLearningRate
        settings.storage = calibrationStorage ?? settings.storage
        return settings
    }
}

/// Whether a compression calibrates its start, and on what.
enum CalibrationChoice: ExpressibleByArgument {
    case corpus
    case off
    case text(URL)

    init?(argument: String) {
        switch argument {
        case "": return nil
        case "corpus": self = .corpus
        case "off": self = .off
        default: self = .text(URL(filePath: argument))
        }
    }
}

/// Makes a calibrated start with progress, saying before what it takes.
func calibrate(
    teacher: Checkpoint, text: TrainingCorpus, initializer: CalibratedInitializer, destination: URL, overwrite: Bool,
    progress: ProgressOptions
) throws -> [CalibratedInitializer.LayerReport] {
    try initializer.validate(for: teacher.configuration)
    let cost = initializer.cost(for: teacher.configuration, textTokens: text.count)
    if !progress.quiet { StandardStreams.writeError(cost.text) }
    let meter = progress.meter("calibrate", total: teacher.configuration.parameterCount, unit: "weights")
    let reports = try initializer.run(teacher: teacher, text: text, destination: destination, overwrite: overwrite) {
        completed, _, report in
        meter.update(
            done: completed,
            note: report.map { "\($0.name): error \(Quantity.fixed($0.relativeError, digits: 3))" })
        try Task.checkCancellation()
    }
    meter.finish()
    return reports
}

extension CalibratedInitializer.Cost {
    /// For print.
    fileprivate var text: String {
        "calibrate: \(Quantity.grouped(tokens)) tokens; memory \(Quantity.bytes(bytes)); about "
            + "\((try? seconds()).map { Quantity.duration(.seconds($0)) } ?? "?")\n"
    }
}

extension CalibrationError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .layerNormBehindLayers: "Leave --calibrate out, or give --post-layernorm off."
        case .unitScales: "Leave --calibrate out, or give --method nmf."
        case .notFinite: "Check the teacher with `onebit perplexity`."
        case .singular: "Give more --calibration-tokens, or a larger --calibration-damping."
        }
    }
}
