import Foundation
import OneBitEvaluation

/// A line of `evaluate --items`: what a model makes of an item.
private struct ItemLine: Encodable {
    let model: String
    let task: String
    let subject: String?
    let file: String
    let line: Int
    /// The right choice, counted from zero.
    let answer: Int
    /// Of every choice, in nats.
    let logLikelihoods: [Double]
    /// Characters of every choice, which acc_norm divides by.
    let lengths: [Int]
    /// Whether greedy decoding writes the choice.
    let greedy: [Bool]
    let truncated: Bool
    /// Nil where the item is not multiple choice.
    let acc: Int?
    let accNorm: Int?
}

/// Every item of every task and model as a line of JSON.
func itemLines(_ results: [ModelResult]) throws -> String {
    var lines = ""
    for result in results {
        for task in result.tasks {
            for item in task.items {
                let isMultipleChoice = task.task.scoring == .multipleChoice
                lines += try jsonText(
                    ItemLine(
                        model: result.name, task: task.task.name, subject: item.item.subject, file: item.item.file,
                        line: item.item.line, answer: item.item.answer,
                        logLikelihoods: item.scores.map(\.logLikelihood), lengths: item.item.choices.map(\.length),
                        greedy: item.scores.map(\.isGreedy), truncated: item.isTruncated,
                        acc: isMultipleChoice ? (item.isRight ? 1 : 0) : nil,
                        accNorm: isMultipleChoice ? (item.isRightNormalized ? 1 : 0) : nil),
                    onOneLine: true)
                lines += "\n"
            }
        }
    }
    return lines
}
