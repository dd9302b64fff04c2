/// Quantiles of a sample.
struct Quantiles {
    private let sorted: [Float]

    init(_ values: [Float]) { sorted = values.sorted() }

    /// The value below which a share `p` of the sample lies; between two values the line that joins them, as NumPy's default.
    func callAsFunction(_ p: Double) -> Double {
        guard let last = sorted.indices.last else { return .nan }
        let position = p * Double(last)
        let below = Int(position)
        let above = min(below + 1, last)
        let share = position - Double(below)
        // Not a weighted sum: an infinite value would make a NaN of a share of zero.
        if share == 0 || sorted[below] == sorted[above] { return Double(sorted[below]) }
        return Double(sorted[below]) + share * (Double(sorted[above]) - Double(sorted[below]))
    }
}
