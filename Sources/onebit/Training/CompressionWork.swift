import Foundation
import OneBitTraining
import SignDecomposition
import TensorFiles

/// What a compression was asked to do; a resumed one must ask for the same.
struct CompressionSettings: Codable, Hashable {
    var teacher: String
    var start: StartRecipe
    var corpus: String?
    var synthesis: SynthesisSettings
    var distillation: DistillationRecipe
    var seed: UInt64
}

/// The directory beside the output in which a compression keeps its stages' results.
struct CompressionWork {
    let directory: URL
    let settings: CompressionSettings

    var start: URL { directory.appending(path: "start") }
    var corpus: URL { directory.appending(path: "corpus.jsonl") }
    var student: URL { directory.appending(path: "student") }
    var packed: URL { directory.appending(path: "packed") }

    /// Makes the directory, or finds it where the compression resumes one.
    ///
    /// - Throws: ``TrainingError/workExists(directory:)``, and
    ///   ``TrainingError/settingsChanged(directory:key:saved:given:)`` where it was begun differently.
    init(beside output: URL, settings: CompressionSettings, resumes: Bool) throws {
        directory = output.deletingLastPathComponent().appending(path: output.lastPathComponent + ".work")
        self.settings = settings
        let file = directory.appending(path: "settings.json")
        if FileManager.default.fileExists(atPath: directory.path) {
            guard resumes else { throw TrainingError.workExists(directory: directory) }
            try requireSameSettings(in: file)
        } else {
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            try writeAtomically(try JSONEncoder().encode(settings), to: file)
        }
    }

    /// Whether a stage's result stands. Stages write under another name and rename, so it is then whole.
    func has(_ result: URL) -> Bool { FileManager.default.fileExists(atPath: result.path) }

    /// Removes the directory where a failed run has left nothing in it that a resumption could use.
    func removeUnlessBegun() {
        let contents = try? FileManager.default.contentsOfDirectory(atPath: directory.path)
        if contents == ["settings.json"] { try? FileManager.default.removeItem(at: directory) }
    }

    /// Moves the packed model to `output`, with its card and report.
    func finish(report: CompressionReport, card: String, output: URL, overwrite: Bool, keepsWork: Bool) throws {
        try StagedDirectory.write(to: output, overwrite: overwrite) { staged in
            for name in try FileManager.default.contentsOfDirectory(atPath: packed.path) {
                try FileManager.default.copyItem(at: packed.appending(path: name), to: staged.appending(path: name))
            }
            try FileManager.default.copyItem(
                at: student.appending(path: "training_log.jsonl"), to: staged.appending(path: "training_log.jsonl"))
            try writeAtomically(Data(card.utf8), to: staged.appending(path: "README.md"))
            try writeAtomically(
                Data((try jsonText(report) + "\n").utf8), to: staged.appending(path: "compression_report.json"))
        }
        if !keepsWork { try FileManager.default.removeItem(at: directory) }
    }

    private func requireSameSettings(in file: URL) throws {
        let saved: CompressionSettings
        do {
            saved = try JSONDecoder().decode(CompressionSettings.self, from: Data(contentsOf: file))
        } catch {
            throw TrainingError.damagedTrainingCheckpoint(directory: directory, reason: "settings.json: \(error)")
        }
        let pairs: [(String, String, String)] = [
            ("teacher", saved.teacher, settings.teacher),
            ("start", "\(saved.start)", "\(settings.start)"),
            ("corpus", saved.corpus ?? "synthesised", settings.corpus ?? "synthesised"),
            ("synthesis", "\(saved.synthesis)", "\(settings.synthesis)"),
            ("distillation", "\(saved.distillation)", "\(settings.distillation)"),
            ("seed", "\(saved.seed)", "\(settings.seed)"),
        ]
        for (key, old, new) in pairs where old != new {
            throw TrainingError.settingsChanged(directory: directory, key: key, saved: old, given: new)
        }
    }
}
