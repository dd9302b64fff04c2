import ArgumentParser
import Foundation
import LanguageModel
import ModelDescription
import OneBitEvaluation
import OneBitTraining
import ResumableRuns
import Tokenization

/// How a training is watched.
struct MonitoringOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Steps between two validations: perplexity, KL divergence and top-1 agreement on held-out text, and a sample.",
            discussion: "None, unless given. The last step has one too.", valueName: "n"))
    var validateEvery: Int?

    @Option(help: ArgumentHelp("Held-out text to validate on (.txt or .jsonl, also gzipped).", valueName: "file"))
    var validation: URL?

    @Option(help: ArgumentHelp("Tokens to validate on, from the front of that text.", valueName: "n"))
    var validationTokens = 8192

    @Flag(
        help: ArgumentHelp(
            "Keep the training checkpoint with the lowest perplexity on the validation text, and end with its model.",
            discussion: "Needs --validate-every."))
    var keepBest = false

    @Option(
        help: ArgumentHelp(
            "What the device can do at the run's precision, in 10¹² operations per second.",
            discussion: "With it, the share of that which the model uses (MFU) is reported.", valueName: "teraflops"))
    var peakTeraflops: Double?

    func validate() throws {
        if let validateEvery, validateEvery < 1 { throw ValidationError("--validate-every must be 1 or more.") }
        if validationTokens < 2 { throw ValidationError("--validation-tokens must be 2 or more.") }
        if let peakTeraflops, !(peakTeraflops > 0 && peakTeraflops.isFinite) {
            throw ValidationError("--peak-teraflops must be above zero.")
        }
        if keepBest, validateEvery == nil { throw ValidationError("--keep-best needs --validate-every.") }
        if validation != nil, validateEvery == nil { throw ValidationError("--validation needs --validate-every.") }
    }

    /// What decides which model a run ends with, by the keys of its identity.
    ///
    /// - Parameter file: The text that is validated on; nil for documents held out of the corpus.
    func identity(file: URL?) throws -> [String: String] {
        guard keepBest, let validateEvery else { return [:] }
        return [
            "keep_best.validate_every": "\(validateEvery)", "keep_best.validation_tokens": "\(validationTokens)",
            "keep_best.validation": try file.map { try ContentDigest(of: $0).description } ?? "held out of the corpus",
        ]
    }

    /// Watches a run in its directory.
    func monitor(
        directory: URL, execution: Execution, validation: TrainingMonitor.Validation? = nil
    ) -> TrainingMonitor {
        TrainingMonitor(
            directory: directory, validation: validation, peakOperationsPerSecond: peakTeraflops.map { $0 * 1e12 },
            notes: [
                "device": execution.device.description,
                "threads": "\(execution.threads ?? ProcessInfo.processInfo.activeProcessorCount)",
                "command": ShellCommand.ofThisProcess,
            ])
    }

    /// Judges a model on the front of a text; nil where that was not asked for.
    ///
    /// - Parameters:
    ///   - heldOut: The text.
    ///   - window: Tokens per window.
    ///   - teacher: What a student is held against.
    ///   - tokenizer: Makes text of the sample.
    ///   - prompt: What the sample begins with.
    /// - Throws: `WindowError` for a text without one window.
    func validation(
        on heldOut: CompressionText.HeldOut, window: Int, teacher: TorchModel?, tokenizer: any Tokenizer,
        prompt: String,
        progress: ProgressOptions
    ) throws -> TrainingMonitor.Validation? {
        guard let validateEvery else { return nil }
        try heldOut.requireWindow(of: window)
        let plan = try WindowPlan(length: window, limit: max(1, validationTokens / window))
        let text = heldOut.text
        return TrainingMonitor.Validation(
            interval: validateEvery, identity: try identity(file: heldOut.file)
        ) { step, model in
            let begin = ContinuousClock.now
            var result =
                try teacher.map { try Self.compare(model, with: $0, plan, text) } ?? Self.score(model, plan, text)
            result.sample = try sample(of: model, tokenizer: tokenizer, prompt: prompt)
            result.seconds = (ContinuousClock.now - begin) / .seconds(1)
            if !progress.quiet {
                ProgressDisplay.endOpenLine()
                StandardStreams.writeError("step \(step): \(result.summary)\n")
            }
            return result
        }
    }

    private static func compare(
        _ model: TorchModel, with teacher: TorchModel, _ plan: WindowPlan, _ text: TokenizedText
    ) throws -> ValidationResult {
        let found = try ModelComparison(plan).evaluate(teacher: teacher, student: model, text: text) { _ in
            try Task.checkCancellation()
        }
        return ValidationResult(
            perplexity: found.student.perplexity, teacherPerplexity: found.teacher.perplexity,
            klDivergence: found.divergence.mean, topOneAgreement: found.topOneAgreement.mean,
            tokens: found.student.tokensScored, seconds: 0)
    }

    private static func score(
        _ model: TorchModel, _ plan: WindowPlan, _ text: TokenizedText
    ) throws -> ValidationResult {
        let found = try Perplexity(plan).evaluate(model, text: text) { _ in try Task.checkCancellation() }
        return ValidationResult(perplexity: found.perplexity, tokens: found.tokensScored, seconds: 0)
    }

    /// The same draws at every step: what changes is the model.
    private func sample(of model: TorchModel, tokenizer: any Tokenizer, prompt: String) throws -> String {
        var tokens = try tokenizer.encode(prompt, addSpecialTokens: true)
        if tokens.isEmpty { tokens = [tokenizer.beginOfSequence ?? 0] }
        var text = prompt
        let parameters = GenerateParameters(
            maxTokens: min(64, model.configuration.maximumPositions - tokens.count), temperature: 0.8, seed: 0)
        _ = try generate(prompt: tokens, model: model, tokenizer: tokenizer, parameters: parameters) {
            text += $0
            try Task.checkCancellation()
        }
        return text
    }
}

extension ValidationResult {
    /// The figures in a line.
    fileprivate var summary: String {
        let figures = [
            "validation perplexity \(Quantity.fixed(perplexity, digits: 3))",
            teacherPerplexity.map { "teacher's \(Quantity.fixed($0, digits: 3))" },
            klDivergence.map { "KL \(Quantity.fixed($0, digits: 4))" },
            topOneAgreement.map { "top-1 agreement \(Quantity.fixed($0 * 100, digits: 1)) %" },
        ]
        return figures.compactMap(\.self).joined(separator: ", ")
    }
}
