/// The mean of values that come in clusters, and how far it may be off: the tokens of a window are not independent of each
/// other, the windows nearly are.
///
///     mean = Σ_w s_w / Σ_w n_w,   error² = W / (W − 1) · Σ_w (s_w − mean · n_w)² / (Σ_w n_w)²
///
/// with a window's sum s_w over its n_w values, and W windows (the ratio estimator of cluster sampling, Cochran 1977, §6.3).
public struct ClusteredMean: Sendable, Hashable, Codable {
    /// W: windows added.
    public private(set) var clusters = 0
    /// Σ n_w: values added.
    public private(set) var count = 0
    /// Σ s_w.
    public private(set) var sum = 0.0
    private var sumOfSquares = 0.0
    private var sumOfProducts = 0.0
    private var sumOfSquaredCounts = 0.0

    public init() {}

    public mutating func add(sum: Double, count: Int) {
        add(clusters: 1, sum: sum, count: count, squares: (sum * sum, sum * Double(count), Double(count * count)))
    }

    /// Adds the clusters of `other`.
    public mutating func add(_ other: ClusteredMean) {
        add(
            clusters: other.clusters, sum: other.sum, count: other.count,
            squares: (other.sumOfSquares, other.sumOfProducts, other.sumOfSquaredCounts))
    }

    private mutating func add(clusters: Int, sum: Double, count: Int, squares: (Double, Double, Double)) {
        self.clusters += clusters
        self.count += count
        self.sum += sum
        sumOfSquares += squares.0
        sumOfProducts += squares.1
        sumOfSquaredCounts += squares.2
    }

    public var mean: Double { sum / Double(count) }

    /// Standard error of the mean; nil for less than two clusters, which say nothing of it.
    public var standardError: Double? {
        guard clusters > 1 else { return nil }
        let deviation = sumOfSquares - 2 * mean * sumOfProducts + mean * mean * sumOfSquaredCounts
        // Rounding may leave less than nothing where all clusters agree.
        return (max(0, deviation) * Double(clusters) / Double(clusters - 1)).squareRoot() / Double(count)
    }
}
