import ArgumentParser
import Foundation
import OneBitEvaluation
import OneBitRuntime
import Tokenization

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Measure what a student kept of its teacher.",
        discussion: """
            KL divergence of the student's predictions from the teacher's, agreement on the likeliest tokens, and both \
            perplexities, over the windows of a text. Any two models with one tokenizer can be compared. Texts and windows \
            are those of onebit perplexity, whose help explains them.

            EXAMPLES
              onebit compare llama-7b llama-7b-onebit --text wiki.test.raw --format wikitext
              onebit compare llama-7b llama-7b-onebit --text held-out.jsonl --window 1024 --bos each --json
            """
    )

    @Argument(help: "Directory of the teacher.")
    var teacher: URL

    @Argument(help: "Directory of the student.")
    var student: URL

    @OptionGroup(title: "Text") var text: EvaluationTextOptions
    @OptionGroup var options: ModelOptions
    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    func run() throws {
        let texts = try text.texts()
        let (teacherTokenizer, studentTokenizer) = (try loadTokenizer(from: teacher), try loadTokenizer(from: student))
        let teacher = try loadModel(directory: self.teacher, options: options)
        let student = try loadModel(directory: self.student, options: options)
        let plan = try text.plan(
            context: min(teacher.configuration.maximumPositions, student.configuration.maximumPositions))
        let comparison = ModelComparison(plan)

        var results: [ModelComparisonResult] = []
        for text in texts {
            let tokens = try ModelComparison.commonTokens(teacher: teacherTokenizer, student: studentTokenizer) {
                try self.text.tokens(of: text, plan: plan, tokenizer: $0, configuration: teacher.configuration)
            }
            let meter = progress.meter(text.name, total: plan.windowCount(of: tokens), unit: "windows")
            results.append(
                try comparison.evaluate(teacher: teacher, student: student, text: tokens) { soFar in
                    meter.update(
                        done: soFar.teacher.windows,
                        note: "KL \(Quantity.fixed(soFar.divergence.mean, digits: 3))")
                    try Interruption.check()
                })
            meter.finish()
        }
        let report = ComparisonReport(
            results, teacher: self.teacher.lastPathComponent, student: self.student.lastPathComponent,
            sequences: try text.description(tokenizer: teacherTokenizer))
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
    }
}
