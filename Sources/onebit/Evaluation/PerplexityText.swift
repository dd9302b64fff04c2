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
            texts.append(
                PerplexityText(title: "Wiki2", text: try EvaluationText(files: [wikitext], format: .wikitext)))
        }
        if let c4 { texts.append(PerplexityText(title: "C4", text: try EvaluationText(files: [c4]))) }
        return texts
    }

    func measure(
        _ model: any CausalLanguageModel, tokenizer: any Tokenizer, meterName: String, progress: ProgressOptions
    ) throws -> PerplexityResult {
        let begin = tokenizer.beginOfSequence ?? model.configuration.beginOfSequence
        let tokens = text.tokens(tokenizer: tokenizer, beginOfSequence: begin, placement: .front)
        let perplexity = try Perplexity(window: min(2048, model.configuration.maximumPositions))
        let meter = progress.meter(meterName, total: tokens.count / perplexity.window, unit: "windows")
        let result = try perplexity.evaluate(model, tokens: tokens) { soFar, _ in
            meter.update(done: soFar.windows, note: Quantity.fixed(soFar.perplexity, digits: 3))
            try Interruption.check()
        }
        meter.finish()
        return result
    }
}
