import Foundation
import JSON
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

    @Test("A plain file is one text")
    func plain() throws {
        try withFile(Data("one\ntwo\n".utf8), name: "a.txt") { file in
            let text = try EvaluationText(file: file)
            #expect(text.texts == ["one\ntwo\n"])
            #expect(text.name == "a.txt")
        }
    }

    @Test("Texts are joined by an empty line behind one BOS, or each behind its own, or without")
    func joined() throws {
        try withFile(Data("{\"text\": \"a\"}\n{\"text\": \"b\"}".utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(file: file)
            func joined(_ placement: BeginOfSequencePlacement, begin: Int? = 299) throws -> TokenizedText {
                try text.joined(tokenizer: ByteTokenizer(), beginOfSequence: begin, placement: placement)
            }
            #expect(try joined(.front).sequences == [[299, 97, 10, 10, 98]])
            #expect(try joined(.window).sequences == joined(.front).sequences)
            #expect(try joined(.window).windowBegin == 299 && joined(.front).windowBegin == nil)
            #expect(try joined(.each).sequences == [[299, 97, 299, 98]])
            #expect(try joined(.none).sequences == [[97, 10, 10, 98]])
            #expect(try joined(.each, begin: nil).sequences == joined(.none).sequences)
            let spaced = try text.joined(
                tokenizer: ByteTokenizer(), beginOfSequence: 299, placement: .front, separator: " ")
            #expect(spaced.sequences == [[299, 97, 32, 98]])
            // Words and bytes are known where the tokens behind the first are the text and nothing else.
            #expect(try joined(.front).extent == TextExtent(of: ["a\n\nb"]))
            #expect(try joined(.each).extent == nil && joined(.none).extent == nil)
        }
    }

    @Test("Texts by themselves stand behind BOS, or behind EOS where the tokenizer has no BOS")
    func separate() throws {
        try withFile(Data("{\"text\": \"a b\"}\n{\"text\": \"\"}".utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(file: file)
            let tokens = try text.separate(tokenizer: ByteTokenizer())
            #expect(tokens.sequences == [[299, 97, 32, 98], [299]])
            #expect(tokens.extent?.words == 3 && tokens.extent?.bytes == 3)
            let closing = ByteTokenizer(beginOfSequence: nil, endOfSequence: 298)
            #expect(try text.separate(tokenizer: closing).sequences.map(\.first) == [298, 298])
            #expect(throws: EvaluationTextError.noTokenToStartFrom) {
                try text.separate(tokenizer: ByteTokenizer(beginOfSequence: nil))
            }
        }
    }

    @Test("Segments are drawn from texts that are long enough, in Python's order")
    func drawn() throws {
        let lines = (0..<8).map { "{\"text\": \"\(String(repeating: "\($0)", count: 4 * $0))\"}\n" }
        try withFile(Data(lines.joined().utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(file: file)
            func drawn(_ length: Int) throws -> [Int] {
                try text.drawn(
                    segments: 3, length: length, seed: 0, tokenizer: ByteTokenizer(), beginOfSequence: 299,
                    placement: .front
                ).sequences[0]
            }
            // random.seed(0); per segment randint(0, 7) until a text has more than 10 tokens, then randint(0, count - 11):
            // texts 6, 6 and 4 from tokens 12, 0 and 4 on.
            #expect(
                try drawn(10) == [
                    54, 54, 54, 54, 54, 54, 54, 54, 54, 54, 299, 54, 54, 54, 54, 54, 54, 54, 54, 54, 52, 52, 52, 52, 52,
                    52, 52, 52, 52, 52,
                ])
            #expect(throws: EvaluationTextError.noTextLongEnough(text: "a.jsonl", segment: 29)) { try drawn(29) }
        }
    }

    @Test("Words are the pieces between runs of white space, as Python's re.split counts them")
    func words() {
        for (text, words) in [
            ("", 1), ("one", 1), ("one two", 2), (" one \n\n two\t", 4), ("a\u{A0}b\u{3000}c", 3), ("a\u{1C}b", 2),
            ("a\u{200B}b", 1),
        ] {
            #expect(TextExtent(of: [text]).words == words, "\(text.debugDescription)")
        }
        let extent = TextExtent(of: ["né", "a b"])
        #expect(extent.words == 3 && extent.bytes == 6)
    }

    @Test("A limit takes the first texts")
    func limit() throws {
        try withFile(Data("{\"text\": \"a\"}\n\n{\"text\": \"b\"}\nbroken".utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(file: file, limit: 2)
            #expect(text.texts == ["a", "b"])
        }
    }

    @Test("A file with CRLF line ends gives the texts of the same file with LF", arguments: ["jsonl", "wikitext"])
    func carriageReturns(format: String) throws {
        let lines =
            format == "jsonl"
            ? ["{\"text\": \"a\"}", "", " ", "{\"text\": \"b\"}", ""] : [" ", " = Title = ", " ", " A text . ", " "]
        func texts(_ lineEnd: String) throws -> [String] {
            var texts: [String] = []
            try withFile(Data(lines.map { $0 + lineEnd }.joined().utf8), name: "a.\(format)") { file in
                texts = try EvaluationText(file: file, format: EvaluationTextFormat(rawValue: format)).texts
            }
            return texts
        }
        let unix = try texts("\n")
        #expect(unix.count == (format == "jsonl" ? 2 : 5))
        #expect(try texts("\r\n") == unix)
    }

    @Test("A .jsonl file gives the text of every line; other line separators stay in the text")
    func jsonl() throws {
        let lines = "{\"text\": \"a\\nb\"}\n\n{\"tokens\": [1], \"text\": \"c\u{2028}d\"}\n{\"text\": \"\"}"
        try withFile(Data(lines.utf8), name: "a.jsonl") { file in
            let text = try EvaluationText(file: file)
            #expect(text.texts == ["a\nb", "c\u{2028}d", ""])
        }
    }

    @Test("WikiText lines keep their ends, blank ones become empty")
    func wikitext() throws {
        try withFile(Data(" \n = A = \n \n Text .\n".utf8), name: "wiki.test.raw") { file in
            let text = try EvaluationText(file: file, format: .wikitext)
            #expect(text.texts == ["", " = A = \n", "", " Text .\n"])
        }
    }

    @Test("A broken line and bytes that are no text are refused by file and line")
    func refusals() throws {
        try withFile(Data("{\"text\": \"a\"}\n{\"txt\": 1}\n".utf8), name: "a.jsonl") { file in
            let error = #expect(throws: JSONNodeError.self) { try EvaluationText(file: file) }
            #expect(error?.file == file.path && error?.line == 2 && error?.key == "text")
        }
        try withFile(Data([0x61, 0xFF]), name: "a.txt") { file in
            #expect(throws: EvaluationTextError.notUTF8(file: file.path)) { try EvaluationText(file: file) }
        }
    }
}
