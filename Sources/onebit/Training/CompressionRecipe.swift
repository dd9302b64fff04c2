import Foundation
import ModelDescription
import OneBitTraining
import SignDecomposition

/// Everything that a compression was made with, to be made again.
struct CompressionRecipe: Encodable {
    /// The preset.
    var name: RecipeName
    var start: StartRecipe
    /// The corpus's file; nil where the teacher wrote it.
    var corpus: String?
    /// How the teacher wrote it.
    var synthesis: SynthesisSettings?
    /// Tokens that were trained on, those held out not among them.
    var corpusTokens: Int
    var signGradient: SignGradient
    var lossWeights: LossWeights
    /// Steps, batches, optimiser, learning rates.
    var plan: TrainingPlan
    var seed: UInt64
    var version = OneBitVersion.current
    /// The command line, quoted for a shell.
    var command = ShellCommand.ofThisProcess

    /// Tokens that the student has seen, over all passes.
    var trainedTokens: Int { plan.budget.steps * plan.budget.tokensPerStep }

    /// Every number by name, for people.
    var table: TextTable {
        var table = TextTable([.text("setting"), .text("value")])
        func append(_ name: String, _ value: some CustomStringConvertible) { table.append([name, "\(value)"]) }
        append("recipe", "\(name.rawValue), onebit-swift \(version)")
        append("value vectors g and h", "\(start.method.rawValue), split \(start.scaleSplit.rawValue)")
        append("latent weight", start.latent.rawValue)
        append("LayerNorm after a linear", start.postLayerNorm ? "on" : "off")
        append("corpus", corpusText)
        append("corpus tokens", Quantity.grouped(corpusTokens))
        append("steps", Quantity.grouped(plan.budget.steps))
        append("sequences per step", plan.budget.batchSize)
        append("passes per step", plan.budget.accumulation)
        append("tokens per sequence", Quantity.grouped(plan.budget.sequenceLength))
        append(
            "tokens trained on",
            "\(Quantity.grouped(trainedTokens)), "
                + "\(Quantity.fixed(Double(trainedTokens) / Double(max(1, corpusTokens)), digits: 1)) passes")
        append("gradient of the sign", signGradient.rawValue)
        append("weight of the KL divergence", lossWeights.klDivergence)
        append("weight of the hidden states", lossWeights.hiddenStates)
        append("weight of the language model", lossWeights.languageModel)
        for group in [ParameterGroup.latent, .scales, .embedding, .norm] {
            append("learning rate, \(group.rawValue)", plan.optimizer.learningRates[group])
        }
        append("warm-up steps", plan.warmupSteps)
        append("schedule", "cosine to zero")
        append("AdamW β₁, β₂, ε", "\(plan.optimizer.beta1), \(plan.optimizer.beta2), \(plan.optimizer.epsilon)")
        append("weight decay", plan.optimizer.weightDecay)
        append("largest gradient norm", plan.optimizer.gradientClip)
        append("seed", seed)
        return table
    }

    private var corpusText: String {
        guard let synthesis else { return corpus ?? "" }
        let first =
            switch synthesis.firstToken {
            case .uniform:
                "first token uniform, the next \(synthesis.greedyTokens.lowerBound) to "
                    + "\(synthesis.greedyTokens.upperBound) greedy"
            case .model: "first token drawn by the model"
            }
        return "written by the teacher: \(Quantity.grouped(synthesis.samples)) samples of up to "
            + "\(Quantity.grouped(synthesis.maximumLength)) tokens, \(first), \(synthesis.batchSize) side by side"
    }
}
