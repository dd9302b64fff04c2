import Foundation
import ModelDescription
import OneBitEvaluation
import OneBitTraining
import ResumableRuns
import TensorFiles
import Tokenization

/// The directory beside the output in which a compression keeps its stages' results.
struct CompressionWork {
    let directory: URL

    var start: URL { directory.appending(path: "start") }
    var corpus: URL { directory.appending(path: "corpus.jsonl") }
    var student: URL { directory.appending(path: "student") }
    var packed: URL { directory.appending(path: "packed") }
    private var trainingLog: URL { student.appending(path: "training_log.jsonl") }

    private static let settingsName = "settings.json"

    /// Where the work for an output is kept.
    static func directory(beside output: URL) -> URL {
        output.deletingLastPathComponent().appending(path: output.lastPathComponent + ".work")
    }

    /// Makes the directory, or finds it where the compression resumes one.
    ///
    /// - Parameters:
    ///   - output: Where the packed model goes.
    ///   - identity: What is computed.
    ///   - choice: What was planned; kept for a resumption.
    ///   - resumes: Whether to go on with what stands there.
    /// - Throws: `RunError.workExists(directory:)`, and
    ///   `RunError.settingsChanged(directory:key:saved:given:)` where it was started differently.
    init(beside output: URL, identity: RunIdentity, choice: RunPlanner.Choice, resumes: Bool) throws {
        directory = Self.directory(beside: output)
        let file = directory.appending(path: Self.settingsName)
        let contents = try? FileManager.default.contentsOfDirectory(atPath: directory.path)
        if let contents, !contents.isEmpty {
            guard resumes else { throw RunError.workExists(directory: directory) }
            let saved: RunIdentity
            do {
                saved = try JSONDecoder().decode(RunIdentity.self, from: Data(contentsOf: file))
            } catch {
                throw RunError.damagedState(
                    directory: directory, reason: "\(Self.settingsName): \(error)")
            }
            try identity.requireSame(as: saved, in: directory)
        } else {
            // An empty directory is what a killed run of an earlier version left, and nothing of it is lost. The new one
            // appears with its settings, or not at all.
            try StagedDirectory.write(to: directory, overwrite: contents != nil) { staged in
                try writeAtomically(
                    try JSONEncoder().encode(identity), to: staged.appending(path: Self.settingsName))
                try PlanFile(in: staged).write(choice)
            }
        }
    }

    /// Whether a stage's result stands. Stages write under another name and rename, so it is then whole.
    func has(_ result: URL) -> Bool { FileManager.default.fileExists(atPath: result.path) }

    /// Removes the directory where a run that ended with `error` has left nothing in it that a resumption could use.
    func removeUnlessBegun(after error: any Error) {
        TokenizedCorpus.removeUnlessBegun(directory, after: error, besides: [Self.settingsName, PlanFile.name])
    }

    /// Optimizer steps that made the student.
    func stepsMade() throws -> Int {
        try Data(contentsOf: trainingLog).split(separator: UInt8(ascii: "\n")).count
    }

    /// Moves the packed model to `output`, with its card and report.
    func finish(report: CompressionReport, card: String, output: URL, overwrite: Bool, keepsWork: Bool) throws {
        try StagedDirectory.write(to: output, overwrite: overwrite) { staged in
            for name in try FileManager.default.contentsOfDirectory(atPath: packed.path) {
                try FileManager.default.copyItem(at: packed.appending(path: name), to: staged.appending(path: name))
            }
            try FileManager.default.copyItem(at: trainingLog, to: staged.appending(path: "training_log.jsonl"))
            for name in TrainingMonitor.files where has(student.appending(path: name)) {
                try FileManager.default.copyItem(
                    at: student.appending(path: name), to: staged.appending(path: name))
            }
            try writeAtomically(Data(card.utf8), to: staged.appending(path: "README.md"))
            try writeAtomically(
                Data((try jsonText(report) + "\n").utf8), to: staged.appending(path: "compression_report.json"))
        }
        if !keepsWork { try FileManager.default.removeItem(at: directory) }
    }
}

/// The text of a compression: what is trained on, and what the models are evaluated on.
struct CompressionText {
    let training: TrainingCorpus
    let heldOut: HeldOut

    struct HeldOut {
        let tokens: [Int]
        let name: String
        let loader: Loader
        /// Nil for documents held out of the corpus.
        let file: URL?

        /// Its first tokens.
        func prefix(_ count: Int) -> HeldOut {
            guard count < tokens.count else { return self }
            return HeldOut(
                tokens: Array(tokens.prefix(count)), name: "\(name), its first \(Quantity.grouped(count)) tokens",
                loader: loader, file: file)
        }

        var text: TokenizedText { TokenizedText(name: name, sequences: [tokens]) }

        /// Hours of training must not end in a text that no model can be judged on.
        ///
        /// - Throws: `WindowError`.
        func requireWindow(of length: Int) throws {
            guard try WindowPlan(length: length).windowCount(of: text) > 0 else {
                throw WindowError.textTooShort(text: name, tokens: tokens.count, window: length)
            }
        }
    }

    /// What the `datasets` library calls the reader of a file; the Hub's cards name data of one's own by it.
    enum Loader: String {
        case json, text

        init(of file: URL) { self = Corpus.isJSONLines(file) ? .json : .text }
    }

    /// Reads a text to evaluate on.
    static func heldOut(_ file: URL, tokenizer: any Tokenizer, vocabularySize: Int) throws -> HeldOut {
        let tokens = try Corpus.tokens(of: file, tokenizer: tokenizer, vocabularySize: vocabularySize)
        return HeldOut(tokens: tokens.map(Int.init), name: file.lastPathComponent, loader: Loader(of: file), file: file)
    }

    /// - Parameters:
    ///   - corpus: One file or more.
    ///   - heldOut: Text to evaluate on; without one, every twentieth document of each file is held out, up to 2,000.
    ///   - tokenizer: The teacher's.
    ///   - work: Keeps the tokens.
    init(
        corpus: [CorpusSource], heldOut: HeldOut?, tokenizer: any Tokenizer, teacher: Checkpoint, work: CompressionWork,
        progress: ProgressOptions
    ) throws {
        let vocabularySize = teacher.configuration.vocabularySize
        training = try TokenizedCorpus.open(
            corpus,
            encoding: CorpusEncoding(
                tokenizer: tokenizer, directory: teacher.directory, vocabularySize: vocabularySize,
                selection: heldOut == nil ? .notHeldOut : .all),
            in: work.directory, progress: progress)
        self.heldOut =
            try heldOut
            ?? HeldOut(
                tokens: corpus.flatMap {
                    try Corpus.tokens(
                        of: $0.file, tokenizer: tokenizer, vocabularySize: vocabularySize, selection: .heldOut
                    ).map(Int.init)
                }, name: "documents held out of the corpus", loader: Loader(of: corpus[0].file),
                file: nil)
    }
}
