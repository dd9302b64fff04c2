import Foundation
import Testing

@testable import OneBitEvaluation

@Suite struct EvaluationTextTests {
    /// A file that is gone after `body`.
    private func withFile(_ content: Data, name: String, _ body: (URL) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-text-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: name)
        try content.write(to: file)
        try body(file)
    }

    @Test("A plain file is one text, joined to others by an empty line")
    func plain() throws {
        try withFile(Data("one\ntwo\n".utf8), name: "a.txt") { file in
            #expect(try EvaluationText(files: [file]).text == "one\ntwo\n")
            let both = try EvaluationText(files: [file, file])
            #expect(both.text == "one\ntwo\n\n\none\ntwo\n")
            #expect(both.count == 2)
            #expect(both.name == "a.txt + a.txt")
        }
    }

    @Test("A .jsonl file gives the text of every line; other line separators stay in the text")
    func jsonl() throws {
        let lines = "{\"text\": \"a\\nb\"}\n\n{\"tokens\": [1], \"text\": \"c\u{2028}d\"}\n{\"text\": \"\"}"
        try withFile(Data(lines.utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(files: [file])
            #expect(text.text == "a\nb\n\nc\u{2028}d\n\n")
            #expect(text.count == 3)
        }
    }

    @Test("WikiText lines keep their ends, blank ones become empty")
    func wikitext() throws {
        try withFile(Data(" \n = A = \n \n Text .\n".utf8), name: "wiki.test.raw") { file in
            let text = try EvaluationText(files: [file], format: .wikitext)
            #expect(text.text == "\n\n = A = \n\n\n\n\n Text .\n")
            #expect(text.count == 4)
        }
    }

    @Test("A broken line and bytes that are no text are refused by file and line")
    func refusals() throws {
        try withFile(Data("{\"text\": \"a\"}\n{\"txt\": 1}\n".utf8), name: "a.jsonl") { file in
            #expect(throws: EvaluationTextError.malformedLine(file: file.path, line: 2)) {
                try EvaluationText(files: [file])
            }
        }
        try withFile(Data([0x61, 0xFF]), name: "a.txt") { file in
            #expect(throws: EvaluationTextError.notUTF8(file: file.path)) { try EvaluationText(files: [file]) }
        }
    }
}
