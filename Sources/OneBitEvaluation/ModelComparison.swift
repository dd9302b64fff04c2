import Foundation
import LanguageModel
import Tokenization

/// What a student kept of its teacher: divergence of their predictions, agreement, and both perplexities, from one pass of
/// each model.
public struct ModelComparison: Sendable {
    /// How texts are cut into windows.
    public let plan: WindowPlan

    public init(_ plan: WindowPlan) {
        self.plan = plan
    }

    /// Compares two models on a text. The logits of one window are held at a time.
    ///
    /// - Parameters:
    ///   - teacher: the model that is held to be right.
    ///   - student: the model that is held against it.
    ///   - text: what both read.
    ///   - progress: called after every window with the result so far; may throw to end the comparison.
    /// - Throws: ``WindowError``, ``ComparisonError/vocabulariesDiffer(teacher:student:)``, and what the models and
    ///   `progress` throw.
    public func evaluate(
        teacher: any CausalLanguageModel, student: any CausalLanguageModel, text: TokenizedText,
        progress: (_ soFar: ModelComparisonResult) throws -> Void = { _ in }
    ) throws -> ModelComparisonResult {
        let vocabulary = teacher.configuration.vocabularySize
        guard student.configuration.vocabularySize == vocabulary else {
            throw ComparisonError.vocabulariesDiffer(
                teacher: vocabulary, student: student.configuration.vocabularySize)
        }
        let windows = try plan.windows(
            of: text,
            maximum: min(teacher.configuration.maximumPositions, student.configuration.maximumPositions))
        var result = ModelComparisonResult(text: text, plan: plan)
        for (sequence, window) in windows {
            try Task.checkCancellation()
            let (context, scored) = text.tokens(of: window, in: sequence)
            let tokens = context + scored.dropLast()
            try student.check(tokens)
            let tokensCompared = compare(
                try teacher.logits(of: tokens), try student.logits(of: tokens), vocabulary: vocabulary,
                firstRow: context.count - 1, targets: scored)
            result.add(window, tokensCompared)
            try progress(result)
        }
        result.close(text)
        return result
    }

    /// Row `firstRow` + i of the logits predicts target i.
    private func compare(
        _ teacher: [Float], _ student: [Float], vocabulary: Int, firstRow: Int, targets: ArraySlice<Int>
    ) -> [TokenComparison] {
        teacher.withUnsafeBufferPointer { teacher in
            student.withUnsafeBufferPointer { student in
                targets.enumerated().map { offset, target in
                    let row = (firstRow + offset) * vocabulary..<(firstRow + offset + 1) * vocabulary
                    return TokenComparison(
                        teacher: UnsafeBufferPointer(rebasing: teacher[row]),
                        student: UnsafeBufferPointer(rebasing: student[row]), target: target)
                }
            }
        }
    }
}

extension ModelComparison {
    /// Checks that two tokenizers are one in what matters here: the same vocabulary size and the same tokens of a text.
    ///
    /// - Returns: the text's tokens.
    /// - Throws: ``ComparisonError``, and what `tokens` throws.
    public static func commonTokens(
        teacher: any Tokenizer, student: any Tokenizer, _ tokens: (any Tokenizer) throws -> TokenizedText
    ) throws -> TokenizedText {
        guard teacher.vocabularySize == student.vocabularySize else {
            throw ComparisonError.vocabulariesDiffer(
                teacher: teacher.vocabularySize, student: student.vocabularySize)
        }
        let (expected, found) = (try tokens(teacher), try tokens(student))
        guard expected == found else {
            let (one, other) = (expected.sequences.joined(), found.sequences.joined())
            let position = zip(one, other).enumerated().first { $0.element.0 != $0.element.1 }?.offset
            throw ComparisonError.tokensDiffer(
                text: expected.name, position: position ?? min(expected.tokenCount, found.tokenCount))
        }
        return expected
    }
}

/// What a comparison of two models found.
public struct ModelComparisonResult: Sendable {
    /// What was found in one window.
    public struct Window: Sendable, Hashable {
        /// Mean over its tokens, in nats.
        public let divergence: Double
        /// Share of its tokens at which both models find the same token likeliest.
        public let topOneAgreement: Double
        /// Tokens predicted in it.
        public let tokens: Int
    }

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
    /// The windows in their order.
    public private(set) var windows: [Window] = []
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
        let count = Double(tokens.count)
        windows.append(
            Window(
                divergence: sum(\.divergence) / count, topOneAgreement: sum { $0.rank == 0 ? 1 : 0 } / count,
                tokens: tokens.count))
        divergences += tokens.map { Float($0.divergence) }
    }

    /// After the last window.
    mutating func close(_ text: TokenizedText) {
        teacher.close(text)
        student.close(text)
        quantiles = Quantiles(divergences)
        divergenceShares = Self.shares(of: divergences)
        divergences = []
    }

    /// Median of the tokens' divergences, in nats.
    public var medianDivergence: Double { quantiles(0.5) }
    /// What 99 % of the tokens' divergences stay below, in nats.
    public var divergence99: Double { quantiles(0.99) }
    /// The largest of the tokens' divergences, in nats.
    public var largestDivergence: Double { quantiles(1) }

    /// How the tokens' divergences are distributed: shares of them in ranges of a quarter of a power of ten, from 1e-6 (which
    /// holds what is below, too) to 100 nats; the empty ranges before the first and behind the last that are not empty left
    /// out. Known after the last window.
    public private(set) var divergenceShares: [(range: ClosedRange<Double>, share: Double)] = []

    private static func shares(of divergences: [Float]) -> [(range: ClosedRange<Double>, share: Double)] {
        let perPower = 4.0
        let (lowest, highest) = (-6.0, 2.0)
        var counts = Array(repeating: 0, count: Int((highest - lowest) * perPower))
        var total = 0
        for divergence in divergences where !divergence.isNaN {
            let place = (log10(max(Double(divergence), 1e-300)) - lowest) * perPower
            counts[Int(min(Double(counts.count - 1), max(0, place)))] += 1
            total += 1
        }
        guard let first = counts.firstIndex(where: { $0 > 0 }), let last = counts.lastIndex(where: { $0 > 0 }) else {
            return []
        }
        func edge(_ bin: Int) -> Double { pow(10, lowest + Double(bin) / perPower) }
        return (first...last).map { bin in
            (edge(bin)...edge(bin + 1), Double(counts[bin]) / Double(total))
        }
    }

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

/// The predictions of two models for the same next token.
struct TokenComparison: Sendable, Hashable {
    /// KL(teacher ‖ student) = Σ_i p_i log(p_i / q_i) in nats.
    let divergence: Double
    /// Tokens that the student finds likelier than the teacher's likeliest one.
    let rank: Int
    /// −log p of the token that came, in nats.
    let teacherLoss: Double
    /// −log q of the token that came, in nats.
    let studentLoss: Double

    /// With logits a and b relative to the largest of their row, and Z the sums of their exponentials,
    ///
    ///     KL = Σ_i e^{a_i} / Z_a · (a_i − b_i) − log Z_a + log Z_b
    ///
    /// Exponentials in single precision, as the logits are, sums in double. Equal rows give exactly zero. Of equal logits the
    /// first counts as the largest.
    ///
    /// - Parameters:
    ///   - teacher: logits of one place, [vocabulary].
    ///   - student: the same of the student.
    ///   - target: the token that came.
    init(teacher: UnsafeBufferPointer<Float>, student: UnsafeBufferPointer<Float>, target: Int) {
        let (likeliest, teacherLargest) = Self.largest(of: teacher)
        let (_, studentLargest) = Self.largest(of: student)
        let rival = student[likeliest]
        var (teacherSum, studentSum, cross, rank) = (0.0, 0.0, 0.0, 0)
        for token in teacher.indices {
            let a = teacher[token] - teacherLargest
            let b = student[token] - studentLargest
            let weight = exp(a)
            teacherSum += Double(weight)
            studentSum += Double(exp(b))
            // A token that the teacher rules out adds nothing, whatever the student's probability of it.
            if weight > 0 { cross += Double(weight) * (Double(a) - Double(b)) }
            if student[token] > rival || (student[token] == rival && token < likeliest) { rank += 1 }
        }
        let (teacherLog, studentLog) = (log(teacherSum), log(studentSum))
        // Never below zero but for rounding.
        divergence = max(0, cross / teacherSum - teacherLog + studentLog)
        self.rank = rank
        teacherLoss = teacherLog - Double(teacher[target] - teacherLargest)
        studentLoss = studentLog - Double(student[target] - studentLargest)
    }

    private static func largest(of logits: UnsafeBufferPointer<Float>) -> (token: Int, value: Float) {
        var (token, largest) = (0, -Float.infinity)
        for (index, value) in logits.enumerated() where value > largest { (token, largest) = (index, value) }
        return (token, largest)
    }
}

/// Why two models cannot be compared.
public enum ComparisonError: LocalizedError, Sendable, Equatable {
    /// Probabilities over different sets of tokens.
    case vocabulariesDiffer(teacher: Int, student: Int)
    /// Two tokenizers that cut a text differently; the position is that of the first difference.
    case tokensDiffer(text: String, position: Int)

    public var errorDescription: String? {
        switch self {
        case .vocabulariesDiffer(let teacher, let student):
            "The teacher's vocabulary has \(teacher) tokens and the student's \(student): their predictions are not of the "
                + "same thing. Compare models that share a tokenizer."
        case .tokensDiffer(let text, let position):
            "\(text): teacher's and student's tokenizers differ at token \(position). Compare models that share a tokenizer."
        }
    }
}
