import Foundation
import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import TensorFiles
import Tokenization

/// A task whose items have been read.
struct LoadedTask {
    let task: any EvaluationTask
    let items: TaskItems

    static func all(_ tasks: [any EvaluationTask], from source: TaskDataSource) throws -> [LoadedTask] {
        try tasks.map { LoadedTask(task: $0, items: try $0.items(from: source)) }
    }
}

/// A model that is to be evaluated.
struct Candidate {
    /// The last part of its name, or the whole path where two models share that.
    let name: String
    let checkpoint: Checkpoint

    static func all(in directories: [URL], options: CheckpointOptions) throws -> [Candidate] {
        let counts = Dictionary(grouping: directories) { ModelName(of: $0).short }
        return try directories.map { directory in
            let name = ModelName(of: directory).short
            return Candidate(
                name: counts[name]?.count == 1 ? name : directory.relativePath,
                checkpoint: try options.open(directory))
        }
    }
}

/// What one model scored in all of it.
struct ModelResult {
    struct Task {
        let task: any EvaluationTask
        let result: TaskResult
        let items: [ItemResult]
        /// Items left out for being malformed.
        let malformedCount: Int
    }

    let name: String
    let checkpoint: Checkpoint
    let tasks: [Task]
    let perplexities: [(text: PerplexityText, result: PerplexityResult)]
    let seconds: Double

    /// Mean over the tasks of the measure that stands in the table.
    var average: Double { tasks.reduce(0) { $0 + $1.tableEstimate.value } / Double(tasks.count) }
}

extension ModelResult.Task {
    var tableEstimate: Estimate { result.metrics[task.tableMetric]! }
}

/// Runs the tasks and texts of an evaluation on one model.
struct ModelEvaluation {
    let candidate: Candidate
    let model: any CausalLanguageModel
    let tokenizer: any Tokenizer
    /// Whether progress names the model too.
    var showsName = true
    var bos = EvaluateCommand.BeginOfSequence.tokenizer
    /// Tokens of an item that the model reads; its context if nil.
    var context: Int?
    var batchSize = EvaluateCommand.defaultBatchSize
    var skipsMalformed = false
    var journal: EvaluationJournal?
    let progress: ProgressOptions

    func run(_ tasks: [LoadedTask], texts: [PerplexityText]) throws -> ModelResult {
        let start = ContinuousClock.now
        let configuration = model.configuration
        let prefix =
            tokenizer.beginOfSequence ?? tokenizer.endOfSequence ?? configuration.beginOfSequence
            ?? configuration.endOfSequence.first
        let evaluation = TaskEvaluation(
            model: model,
            encoder: PromptEncoder(tokenizer: tokenizer, prefix: prefix, addsSpecialTokens: bos == .tokenizer),
            context: context, batchSize: batchSize, skipsUnscorable: skipsMalformed)
        let results = try tasks.map { try run($0, evaluation: evaluation) }
        // Last: what a killed run had of them is not kept.
        let perplexities = try texts.map { text in
            (text, try text.measure(model, tokenizer: tokenizer, meterName: meterName(text.title), progress: progress))
        }
        return ModelResult(
            name: candidate.name, checkpoint: candidate.checkpoint, tasks: results, perplexities: perplexities,
            seconds: (ContinuousClock.now - start) / .seconds(1))
    }

    private func run(_ loaded: LoadedTask, evaluation: TaskEvaluation) throws -> ModelResult.Task {
        var meter: ProgressMeter?
        let outcome = try evaluation.run(loaded.items.items, journal: journal) { state in
            try Task.checkCancellation()
            guard state.totalTokens > 0 else { return }
            let note = "\(Quantity.grouped(state.items)) of \(Quantity.grouped(state.totalItems)) items"
            if let meter {
                meter.update(done: state.tokens, note: note)
            } else {
                meter = progress.meter(
                    meterName(loaded.task.name), total: state.totalTokens, done: state.tokens, unit: "tokens")
            }
        }
        meter?.finish()
        guard !outcome.results.isEmpty else { throw outcome.unscorable[0] }
        return ModelResult.Task(
            task: loaded.task, result: TaskResult(outcome.results, scoring: loaded.task.scoring),
            items: outcome.results, malformedCount: loaded.items.malformed.count + outcome.unscorable.count)
    }

    private func meterName(_ name: String) -> String { showsName ? "\(candidate.name) \(name)" : name }
}

/// A text whose perplexity stands in the table, by the protocol of GPTQ and OneBit.
struct PerplexityText {
    /// The title of its column.
    let title: String
    let text: EvaluationText

    static func all(wikitext: URL?, c4: URL?) throws -> [PerplexityText] {
        var texts: [PerplexityText] = []
        if let wikitext {
            texts.append(PerplexityText(title: "Wiki2", text: try EvaluationText(file: wikitext, format: .wikitext)))
        }
        if let c4 { texts.append(PerplexityText(title: "C4", text: try EvaluationText(file: c4))) }
        return texts
    }

    func measure(
        _ model: any CausalLanguageModel, tokenizer: any Tokenizer, meterName: String, progress: ProgressOptions
    ) throws -> PerplexityResult {
        let tokens = try text.joined(
            tokenizer: tokenizer, beginOfSequence: tokenizer.beginOfSequence ?? model.configuration.beginOfSequence,
            placement: try tokenizer.opensSequences ? .front : .none)
        let plan = try WindowPlan(length: min(2048, model.configuration.maximumPositions))
        let meter = progress.meter(meterName, total: plan.windowCount(of: tokens), unit: "windows")
        let result = try Perplexity(plan).evaluate(model, text: tokens) { soFar in
            meter.update(done: soFar.windows, note: Quantity.fixed(soFar.perplexity, digits: 3))
            try Task.checkCancellation()
        }
        meter.finish()
        return result
    }
}
