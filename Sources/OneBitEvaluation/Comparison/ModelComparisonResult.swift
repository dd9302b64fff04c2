import Foundation

/// What a comparison of two models found.
public struct ModelComparisonResult: Sendable {
    /// How many of the student's best tokens the teacher's best is looked for in, for ``topFiveAgreement``.
    private static let five = 5

    /// Perplexity of the teacher on the same windows.
    public private(set) var teacher: PerplexityResult
    /// Perplexity of the student on the same windows.
    public private(set) var student: PerplexityResult
    /// KL(teacher ‖ student), nats per token.
    public private(set) var divergence = ClusteredMean()
    /// Share of tokens at which both models find the same token likeliest.
    public private(set) var topOneAgreement = ClusteredMean()
    /// Share of tokens at which the teacher's likeliest token is among the student's five likeliest.
    public private(set) var topFiveAgreement = ClusteredMean()
    /// Log-likelihood that the student lost, nats per token.
    private var lossDifference = ClusteredMean()
    private var divergences: [Float] = []
    private var quantiles = Quantiles([])

    init(text: TokenizedText, plan: WindowPlan) {
        teacher = PerplexityResult(text: text, plan: plan)
        student = teacher
    }

    mutating func add(_ window: TokenWindow, _ tokens: [TokenComparison]) {
        func sum(_ value: (TokenComparison) -> Double) -> Double { tokens.reduce(0) { $0 + value($1) } }
        let (teacherLoss, studentLoss) = (sum(\.teacherLoss), sum(\.studentLoss))
        teacher.add(window, logLikelihood: -teacherLoss)
        student.add(window, logLikelihood: -studentLoss)
        lossDifference.add(sum: studentLoss - teacherLoss, count: tokens.count)
        divergence.add(sum: sum(\.divergence), count: tokens.count)
        topOneAgreement.add(sum: sum { $0.rank == 0 ? 1 : 0 }, count: tokens.count)
        topFiveAgreement.add(sum: sum { $0.rank < Self.five ? 1 : 0 }, count: tokens.count)
        divergences += tokens.map { Float($0.divergence) }
    }

    /// After the last window.
    mutating func close(_ text: TokenizedText) {
        teacher.close(text)
        student.close(text)
        quantiles = Quantiles(divergences)
        divergences = []
    }

    /// Median of the tokens' divergences, in nats.
    public var medianDivergence: Double { quantiles(0.5) }
    /// What 99 % of the tokens' divergences stay below, in nats.
    public var divergence99: Double { quantiles(0.99) }
    /// The largest of the tokens' divergences, in nats.
    public var largestDivergence: Double { quantiles(1) }

    /// The student's perplexity over the teacher's.
    public var perplexityRatio: Double { exp(lossDifference.mean) }
    /// Of the ratio: the losses are compared token by token, so it is far smaller than those of the perplexities.
    public var perplexityRatioError: Double? { lossDifference.standardError.map { $0 * perplexityRatio } }

    /// What the figures mean, to be printed with them.
    public static let divergenceDefinition =
        "KL divergence: Σ p log(p / q) over the vocabulary, p the teacher's and q the student's probabilities of the next "
        + "token, in nats; mean, median and 99th percentile over tokens"
    public static let topOneDefinition =
        "top-1 agreement: share of tokens at which both models have the same likeliest token"
    public static let topFiveDefinition =
        "top-5 agreement: share of tokens at which the teacher's likeliest token is among the student's 5 likeliest"
    public static let ratioDefinition =
        "ratio: the student's perplexity over the teacher's, its error from the differences token by token"
}
