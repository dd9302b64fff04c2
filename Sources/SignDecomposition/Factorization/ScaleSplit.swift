/// How the scale of a rank-one product a bᵀ is shared between a and b, which the product leaves open.
public enum ScaleSplit: String, Sendable, CaseIterable, Codable {
    /// As the factorisation leaves it: b of norm near √‖W‖ from its random start, a with what fits.
    case nmf
    /// ‖g‖ = ‖h‖: gradients of the two vectors are of one size, and so are their steps.
    case balanced
}
