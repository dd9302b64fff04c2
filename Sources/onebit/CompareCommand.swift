import ArgumentParser
import Foundation
import OneBitEvaluation
import OneBitRuntime
import Tokenization

struct CompareCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Compare a student's predictions with its teacher's.",
        discussion: """
            KL divergence of the student's predictions from the teacher's, agreement on the most likely tokens, and both \
            perplexities, over the windows of a text. Any two models with one tokenizer can be compared, and a model with \
            itself, its inputs rounded otherwise. Texts and windows are those of onebit perplexity, whose help explains them.

            EXAMPLES
              onebit compare llama-7b llama-7b-onebit --text wiki.test.raw --format wikitext
              onebit compare llama-7b llama-7b-onebit --text wiki.test.raw --format wikitext --html comparison.html
              onebit compare llama-7b llama-7b-onebit --text held-out.jsonl --window 1024 --bos each --json
              onebit compare packed packed --teacher-input-bits 16 --student-input-bits 10 --text wiki.test.raw
            """
    )

    @Argument(help: "The teacher: a directory, a GGUF file, or its name on the hub.")
    var teacher: ModelLocation

    @Argument(help: "The student, likewise.")
    var student: ModelLocation

    @Option(help: ArgumentHelp("--input-bits of the teacher.", valueName: "10|16"))
    var teacherInputBits: InputPrecision?

    @Option(help: ArgumentHelp("--input-bits of the student.", valueName: "10|16"))
    var studentInputBits: InputPrecision?

    @OptionGroup(title: "Text") var text: EvaluationTextOptions
    @OptionGroup var options: ModelOptions
    @OptionGroup var html: HTMLOption

    @Flag(help: "Replace the file of --html if it exists.")
    var overwrite = false

    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    mutating func locateModels() async throws {
        try await teacher.locate(quiet: progress.quiet)
        try await student.locate(quiet: progress.quiet)
    }

    func run() throws {
        try html.check(overwrite: overwrite)
        let texts = try text.texts()
        let teacherTokenizer = try loadTokenizer(from: teacher.url)
        let studentTokenizer = try loadTokenizer(from: student.url)
        let teacher = try loadModel(directory: self.teacher.url, options: options.rounding(to: teacherInputBits))
        let student = try loadModel(directory: self.student.url, options: options.rounding(to: studentInputBits))
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
                    try Task.checkCancellation()
                })
            meter.finish()
        }
        let report = ComparisonReport(
            results, teacher: self.teacher.name, student: self.student.name,
            sequences: try text.description(tokenizer: teacherTokenizer))
        // Where the page cannot be written, what was computed is printed all the same.
        let page = Result { try html.write(try report.page(results)) }
        if json.json {
            try writeJSON(report)
        } else {
            try StandardStreams.write(report.text)
        }
        try page.get()
    }
}
