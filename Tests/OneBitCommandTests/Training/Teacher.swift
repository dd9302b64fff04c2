import Foundation
import Testing

/// A teacher that is pretrained once for the suite.
actor Teacher {
    static let shared = Teacher()
    private var made: Task<URL, any Error>?

    /// A folder of the caller's own with `teacher` and `text.jsonl` in it.
    func workFolder() async throws -> URL {
        let source = try await (made ?? start()).value
        let folder = try BuiltCommand.temporaryFolder()
        for name in ["teacher", "text.jsonl"] {
            try FileManager.default.copyItem(at: source.appending(path: name), to: folder.appending(path: name))
        }
        return folder
    }

    private func start() -> Task<URL, any Error> {
        let task = Task {
            let folder = try BuiltCommand.temporaryFolder()
            let animals = ["fox", "cat", "dog", "owl", "hen"]
            let lines = (0..<60).map { number in
                "{\"text\":\"the \(animals[number % 5]) saw the \(animals[(number * 3 + 1) % 5]) and ran home.\"}\n"
            }
            try Data(lines.joined().utf8).write(to: folder.appending(path: "text.jsonl"))
            let outcome = try await BuiltCommand.run([
                "pretrain", folder.appending(path: "text.jsonl").path, "--output",
                folder.appending(path: "teacher").path,
                "--vocabulary-size", "300", "--hidden-size", "32", "--layers", "2", "--heads", "4", "--context", "64",
                "--steps", "20", "--batch-size", "4", "--sequence-length", "16", "--threads", "1",
            ])
            #expect(outcome.exitCode == 0, "\(outcome.errors)")
            return folder
        }
        made = task
        return task
    }
}
