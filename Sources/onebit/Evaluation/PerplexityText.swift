import Foundation
import OneBitEvaluation
import OneBitRuntime
import Tokenization

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
            try Interruption.check()
        }
        meter.finish()
        return result
    }
}
