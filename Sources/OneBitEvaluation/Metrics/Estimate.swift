import Foundation

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
