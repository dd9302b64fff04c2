import Foundation
import Testing
import Tokenization

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

    /// One byte a token.
    private struct ByteTokenizer: Tokenizer {
        var vocabularySize: Int { 300 }
        var beginOfSequence: Int? { 299 }
        var endOfSequence: Int? { nil }
        func encode(_ text: String, addSpecialTokens: Bool) -> [Int] { text.utf8.map(Int.init) }
        func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { "" }
        func id(of token: String) -> Int? { nil }
        func token(of id: Int) -> String? { nil }
    }

    @Test("A plain file is one text")
    func plain() throws {
        try withFile(Data("one\ntwo\n".utf8), name: "a.txt") { file in
            #expect(try EvaluationText(files: [file]).texts == ["one\ntwo\n"])
            let both = try EvaluationText(files: [file, file])
            #expect(both.texts == ["one\ntwo\n", "one\ntwo\n"])
            #expect(both.name == "a.txt + a.txt")
        }
    }

    @Test("Texts are joined by an empty line behind one BOS, or each behind its own, or without")
    func tokens() throws {
        try withFile(Data("{\"text\": \"a\"}\n{\"text\": \"b\"}".utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(files: [file])
            func tokens(_ placement: BeginOfSequencePlacement, begin: Int? = 299) -> [Int] {
                text.tokens(tokenizer: ByteTokenizer(), beginOfSequence: begin, placement: placement)
            }
            #expect(tokens(.front) == [299, 97, 10, 10, 98])
            #expect(tokens(.each) == [299, 97, 299, 98])
            #expect(tokens(.none) == [97, 10, 10, 98])
            #expect(tokens(.each, begin: nil) == [97, 98])
        }
    }

    @Test("A .jsonl file gives the text of every line; other line separators stay in the text")
    func jsonl() throws {
        let lines = "{\"text\": \"a\\nb\"}\n\n{\"tokens\": [1], \"text\": \"c\u{2028}d\"}\n{\"text\": \"\"}"
        try withFile(Data(lines.utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(files: [file])
            #expect(text.texts == ["a\nb", "c\u{2028}d", ""])
        }
    }

    @Test("WikiText lines keep their ends, blank ones become empty")
    func wikitext() throws {
        try withFile(Data(" \n = A = \n \n Text .\n".utf8), name: "wiki.test.raw") { file in
            let text = try EvaluationText(files: [file], format: .wikitext)
            #expect(text.texts == ["", " = A = \n", "", " Text .\n"])
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
