import Torch

/// Weights of the parts of the distillation loss (paper §3.4).
public struct LossWeights: Sendable, Hashable, Codable {
    /// Factor of the KL divergence, summed over tokens and divided by the number of sequences ("kdScale").
    public var klDivergence: Double
    /// Factor α of the hidden states' direction loss.
    public var hiddenStates: Double
    /// Factor of the language-modelling loss on the corpus itself.
    public var languageModel: Double

    public init(klDivergence: Double, hiddenStates: Double, languageModel: Double = 0) {
        self.klDivergence = klDivergence
        self.hiddenStates = hiddenStates
        self.languageModel = languageModel
    }
}

/// Loss of a batch of B sequences:
///
///     kdScale · (1/B) Σ_tokens KL(P_teacher ‖ P_student)
///       + α · Σ_layers mean_tokens ‖ t/‖t‖₂ − s/‖s‖₂ ‖²
///       + λ · mean_tokens −log P_student(next token)
///
/// over the hidden states that enter each block, the embedding output included and the final norm's output not.
struct DistillationLoss: Sendable {
    let weights: LossWeights

    /// The loss for the backward pass, and its parts by name.
    func callAsFunction(teacher: Transformer.Output, student: Transformer.Output, tokens: Tensor) throws -> StepLoss {
        let shape = tokens.shape
        let (batch, length) = (shape[0], shape[1])

        let kl = try student.logits.klDivergence(fromTeacher: teacher.logits)
        var total = try kl * (weights.klDivergence / Double(batch))
        var parts = [(name: "kl_per_token", value: try kl.detached() * (1 / Double(batch * length)))]

        if weights.hiddenStates != 0 {
            let terms = try zip(teacher.hiddenStates, student.hiddenStates).map { teacher, student in
                try student.directionLoss(fromTeacher: teacher)
            }
            let sum = try Tensor.stacked(terms).sum()
            total = try total + sum * weights.hiddenStates
            parts.append(("hidden", sum))
        }
        if weights.languageModel != 0 {
            let predictions = try student.logits.narrowed(1, from: 0, length: length - 1)
            let term = try predictions.crossEntropy(try tokens.narrowed(1, from: 1, length: length - 1))
            total = try total + term * weights.languageModel
            parts.append(("language_model", term))
        }
        return StepLoss(total: total, parts: parts)
    }
}
