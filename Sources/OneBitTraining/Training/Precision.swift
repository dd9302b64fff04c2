import Torch

/// The type of numbers that activations and matrix products are computed in. Norms, the loss, the gradients of g and h and
/// the sums of gradients are computed in float32 whatever it is.
public enum Precision: String, Sendable, Hashable, Codable, CaseIterable {
    case float32, bfloat16, float16

    var dtype: DType {
        switch self {
        case .float32: .float32
        case .bfloat16: .bfloat16
        case .float16: .float16
        }
    }

    /// The factor that gradients are computed with at first: float16 has none below 6e-8.
    var firstLossScale: Double { self == .float16 ? 65536 : 1 }

    /// The factor of the step behind `events` (Micikevicius et al. 2018): what the last step was made with, and twice that
    /// once it has been so for a while. It is a function of the events, so that a resumed run goes on as an unbroken one.
    func lossScale(after events: [TrainingEvent]) -> Double {
        let (stepsBetweenRises, largest) = (500, 16_777_216.0)
        guard self == .float16, let last = events.last?.lossScale else { return firstLossScale }
        let recent = events.suffix(stepsBetweenRises)
        let rises = recent.count == stepsBetweenRises && recent.allSatisfy { $0.lossScale == last }
        return rises ? min(2 * last, largest) : last
    }
}
