import OneBitEvaluation

/// The figures of a comparison on one text.
struct ComparisonFigures: Encodable {
    /// A figure and how far it may be off.
    struct Figure: Encodable {
        let value: Double
        let standardError: Double?

        init(_ value: Double, _ standardError: Double?) {
            self.value = value
            self.standardError = standardError
        }

        init(_ mean: ClusteredMean) { self.init(mean.mean, mean.standardError) }

        fileprivate func text(digits: Int, scale: Double = 1) -> (value: String, error: String) {
            func fixed(_ value: Double) -> String { Quantity.fixed(value * scale, digits: digits) }
            return (fixed(value), standardError.map(fixed) ?? "-")
        }
    }

    let source: String
    /// Mean over tokens, nats.
    let klDivergence: Figure
    let klDivergenceMedian: Double
    let klDivergenceP99: Double
    let klDivergenceLargest: Double
    let topOneAgreement: Figure
    let topFiveAgreement: Figure
    let teacherPerplexity: Figure
    let studentPerplexity: Figure
    let perplexityRatio: Figure
    let windows: Int
    let tokensPredicted: Int

    init(_ result: ModelComparisonResult) {
        source = result.teacher.text
        klDivergence = Figure(result.divergence)
        klDivergenceMedian = result.medianDivergence
        klDivergenceP99 = result.divergence99
        klDivergenceLargest = result.largestDivergence
        topOneAgreement = Figure(result.topOneAgreement)
        topFiveAgreement = Figure(result.topFiveAgreement)
        teacherPerplexity = Figure(result.teacher.perplexity, result.teacher.standardError)
        studentPerplexity = Figure(result.student.perplexity, result.student.standardError)
        perplexityRatio = Figure(result.perplexityRatio, result.perplexityRatioError)
        windows = result.teacher.windows
        tokensPredicted = result.teacher.tokensScored
    }

    /// What the figures mean, by their keys.
    static func definitions(_ plan: WindowPlan) -> [String: String] {
        [
            "kl_divergence": ModelComparisonResult.divergenceDefinition,
            "top_one_agreement": ModelComparisonResult.topOneDefinition,
            "top_five_agreement": ModelComparisonResult.topFiveDefinition,
            "perplexity": PerplexityResult.definition(plan),
            "perplexity_ratio": ModelComparisonResult.ratioDefinition,
            "standard_error": PerplexityResult.standardErrorDefinition,
        ]
    }

    /// A figure a line.
    var table: TextTable {
        var table = TextTable([.text(source), .figure("value"), .figure("±")])
        func append(_ name: String, _ figure: Figure, digits: Int = 4, scale: Double = 1) {
            let (value, error) = figure.text(digits: digits, scale: scale)
            table.append([name, value, error])
        }
        append("KL divergence, mean", klDivergence)
        table.append(["KL divergence, median", Quantity.fixed(klDivergenceMedian, digits: 4)])
        table.append(["KL divergence, 99 %", Quantity.fixed(klDivergenceP99, digits: 4)])
        append("top-1 agreement, %", topOneAgreement, digits: 2, scale: 100)
        append("top-5 agreement, %", topFiveAgreement, digits: 2, scale: 100)
        append("perplexity, teacher", teacherPerplexity)
        append("perplexity, student", studentPerplexity)
        append("ratio of the two", perplexityRatio)
        return table
    }
}

/// What `compare` prints.
struct ComparisonReport: Encodable {
    private let definitions: [String: String]
    private let teacher: String
    private let student: String
    private let beginOfSequence: String
    private let files: [ComparisonFigures]

    /// - Parameter results: one a file, at least one.
    init(_ results: [ModelComparisonResult], teacher: String, student: String, sequences: String) {
        definitions = ComparisonFigures.definitions(results[0].teacher.plan)
        self.teacher = teacher
        self.student = student
        beginOfSequence = sequences
        files = results.map(ComparisonFigures.init)
    }

    /// For people: a table a file, and what the figures mean.
    var text: String {
        let tables = files.map {
            "\($0.table.text)\(Quantity.grouped($0.tokensPredicted)) tokens predicted in \(Quantity.grouped($0.windows)) "
                + "windows.\n\n"
        }
        let order = [
            "kl_divergence", "top_one_agreement", "top_five_agreement", "perplexity", "perplexity_ratio",
            "standard_error",
        ]
        return "teacher \(teacher), student \(student); \(beginOfSequence)\n\n" + tables.joined()
            + order.compactMap { definitions[$0] }.map { $0 + ".\n" }.joined()
    }
}
