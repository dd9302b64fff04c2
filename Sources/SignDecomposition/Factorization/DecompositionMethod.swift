/// How |W| is approximated by the outer product of two value vectors (paper §3.2).
public enum DecompositionMethod: String, Sendable, CaseIterable, Codable {
    /// Non-negative matrix factorisation of rank one.
    case nmf
    /// Leading singular triple.
    case svd
    /// No decomposition: unit value vectors (the paper's ablation).
    case copy
}
