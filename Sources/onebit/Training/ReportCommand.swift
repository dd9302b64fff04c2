import ArgumentParser
import Foundation
import OneBitTraining
import TensorFiles

struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Show what a training did, or is doing, as one HTML page.",
        discussion: """
            Plots of loss, validation, learning rate, gradient norm, turned signs, speed and memory over the steps, time by \
            phase, samples and settings, from the metrics that compress, distill and pretrain keep. The page needs nothing \
            but a browser. Several directories are compared.

            EXAMPLES
              onebit report llama-7b-onebit --output report.html
              onebit report llama-7b-onebit.work --output report.html --overwrite
              onebit report student-a student-b --output comparison.html
            """
    )

    @Argument(help: "Outputs of runs; of one that is not done, OUTPUT.training or OUTPUT.work.")
    var directories: [URL]

    @Option(name: [.short, .long], help: ArgumentHelp("File to write.", valueName: "file"))
    var output: URL

    @Flag(help: "Replace the output file if it exists.")
    var overwrite = false

    func run() throws {
        try checkDestination(output, overwrite: overwrite)
        let report = TrainingReport(try directories.map(TrainingHistory.init(directory:)))
        try writeAtomically(Data(report.html.utf8), to: output)
    }
}
