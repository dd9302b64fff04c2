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
