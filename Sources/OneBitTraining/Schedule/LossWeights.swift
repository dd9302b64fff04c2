import Torch

/// Weights of the parts of the distillation loss (paper §3.4). Of a batch of B sequences:
///
///     kdScale · (1/B) Σ_tokens KL(P_teacher ‖ P_student)
///       + α · Σ_layers mean_tokens ‖ t/‖t‖₂ − s/‖s‖₂ ‖²
///       + β · Σ_layers mean_heads,tokens ‖ a_t − a_s ‖²
///       + λ · mean_tokens −log P_student(next token)
///
/// over the hidden states that enter each block, the embedding output included and the final norm's output not, and over
/// the rows a of the attention maps: what a token attends with to those before it.
public struct LossWeights: Sendable, Hashable, Codable {
    /// Factor of the KL divergence, summed over tokens and divided by the number of sequences ("kdScale").
    public var klDivergence: Double
    /// Factor α of the hidden states' direction loss.
    public var hiddenStates: Double
    /// Factor β of the difference of attention maps, which the paper tries and leaves out (Table 6).
    public var attentionMaps: Double
    /// Factor λ of the language-modeling loss on the corpus itself.
    public var languageModel: Double

    public init(klDivergence: Double, hiddenStates: Double, attentionMaps: Double = 0, languageModel: Double = 0) {
        self.klDivergence = klDivergence
        self.hiddenStates = hiddenStates
        self.attentionMaps = attentionMaps
        self.languageModel = languageModel
    }
}

/// What a training minimizes.
enum TrainingObjective: Sendable {
    /// Σ −log p(next token) over the mean of all tokens.
    case nextToken
    /// The distillation loss.
    case distillation(teacher: Transformer, weights: LossWeights)

    /// Names of the parts, as `TrainingEvent` has them.
    var partNames: [String] {
        switch self {
        case .nextToken: ["cross_entropy"]
        case .distillation(_, let weights):
            ["kl_per_token"] + (weights.hiddenStates != 0 ? ["hidden"] : [])
                + (weights.attentionMaps != 0 ? ["attention"] : [])
                + (weights.languageModel != 0 ? ["language_model"] : [])
        }
    }

    /// The loss of its parts, in the order of their names.
    ///
    /// - Parameter sequenceLength: Tokens of a sequence.
    func total(parts: [Double], sequenceLength: Int) -> Double {
        switch self {
        case .nextToken: return parts[0]
        case .distillation(_, let weights):
            let factors =
                [weights.klDivergence * Double(sequenceLength)]
                + [weights.hiddenStates, weights.attentionMaps, weights.languageModel].filter { $0 != 0 }
            return zip(parts, factors).reduce(0) { $0 + $1.0 * $1.1 }
        }
    }
}
