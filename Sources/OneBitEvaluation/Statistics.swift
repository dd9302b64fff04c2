import Foundation

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

    /// Standard error of the mean; nil for fewer than two clusters, which do not determine it.
    public var standardError: Double? {
        guard clusters > 1 else { return nil }
        let deviation = sumOfSquares - 2 * mean * sumOfProducts + mean * mean * sumOfSquaredCounts
        // Rounding may leave less than nothing where all clusters agree.
        return (max(0, deviation) * Double(clusters) / Double(clusters - 1)).squareRoot() / Double(count)
    }
}

/// A mean over items, or a figure made of one.
public struct Estimate: Sendable, Hashable {
    public let value: Double
    /// Nil for a single item.
    public let standardError: Double?
    /// Items.
    public let count: Int

    public init(value: Double, standardError: Double?, count: Int) {
        self.value = value
        self.standardError = standardError
        self.count = count
    }

    /// m = Σ x / n and its standard error √( Σ (x − m)² / (n − 1) ) / √n.
    public init(meanOf values: [Double]) {
        let count = Double(values.count)
        let mean = values.reduce(0, +) / count
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        self.init(
            value: mean,
            standardError: values.count > 1 ? (squares / (count - 1)).squareRoot() / count.squareRoot() : nil,
            count: values.count)
    }

    /// exp(−m) of the mean m of `logLikelihoods`; its error is exp(−m) times that of m, to first order. (The harness draws
    /// samples anew 100,000 times to find the same.)
    public init(perplexityOf logLikelihoods: [Double]) {
        let mean = Estimate(meanOf: logLikelihoods)
        let value = exp(-mean.value)
        self.init(value: value, standardError: mean.standardError.map { value * $0 }, count: mean.count)
    }

    /// The mean of parts weighted by their size n_i, as of all their items together; with K parts and N = Σ n_i its
    /// error is the pooled one:
    ///
    ///     √( Σ (n_i − 1) n_i e_i² / (N − K) / N )
    public init(pooling parts: [Estimate]) {
        let count = parts.reduce(0) { $0 + $1.count }
        let sum = parts.reduce(0) { $0 + $1.value * Double($1.count) }
        var variance: Double? = 0
        for part in parts {
            guard let error = part.standardError, let soFar = variance else {
                variance = nil
                break
            }
            variance = soFar + Double((part.count - 1) * part.count) * error * error
        }
        self.init(
            value: sum / Double(count),
            standardError: variance.map { ($0 / Double(count - parts.count) / Double(count)).squareRoot() },
            count: count)
    }
}

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
