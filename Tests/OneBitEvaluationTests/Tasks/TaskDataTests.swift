import Foundation
import JSON
import TensorFiles
import TestSupport
import Testing

@testable import OneBitEvaluation

@Suite("Reading the data of tasks")
struct TaskDataTests {
    private static func line(_ goal: String) -> String {
        #"{"goal": "\#(goal)", "sol1": "a", "sol2": "b", "label": 0}"# + "\n"
    }

    @Test("A file and its gzip give the same items")
    func gzip() throws {
        let text = Self.line("one") + "\r\n" + Self.line("two")
        let plain = try TaskFolder(["piqa.jsonl": text])
        let packed = try TaskFolder()
        try packed.write(zipped(Data(text.utf8)), to: "piqa.jsonl.gz")
        let items = try plain.items(of: PIQA()).items
        #expect(items.map(\.line) == [1, 3])
        #expect(try packed.items(of: PIQA()).items.map(\.choices) == items.map(\.choices))
    }

    @Test("The limit takes items from the front, and does not look at what follows")
    func limit() throws {
        let folder = try TaskFolder(["piqa.jsonl": Self.line("one") + Self.line("two") + "not JSON\n"])
        #expect(try folder.items(of: PIQA(), limit: 2).items.map(\.line) == [1, 2])
    }

    @Test("A data set that is not there is named with what was looked for")
    func missingFile() throws {
        let folder = try TaskFolder()
        #expect(
            throws: TaskDataError.missingFile(
                task: "hellaswag", directory: folder.url.path, lookedFor: ["hellaswag.jsonl", "hellaswag_val.jsonl"])
        ) { try folder.items(of: HellaSwag()) }
        #expect(throws: TaskDataError.self) { try folder.items(of: MMLU()) }
        try folder.write(Data("\n\n".utf8), to: "piqa.jsonl")
        #expect(throws: TaskDataError.noItems(file: folder.path("piqa.jsonl"))) { try folder.items(of: PIQA()) }
    }

    @Test(
        "A malformed item is named by file, line and key, or left out and counted",
        arguments: [
            ("not JSON", ""), ("[]", ""), (#"{"goal": "g"}"#, "sol1"),
            (#"{"goal": 1, "sol1": "a", "sol2": "b", "label": 0}"#, "goal"),
            (#"{"goal": "g", "sol1": "a", "sol2": null, "label": 0}"#, "sol2"),
            (#"{"goal": "g", "sol1": "a", "sol2": "b", "label": 2}"#, "label"),
            (#"{"goal": "g", "sol1": "a", "sol2": "b", "label": -1}"#, "label"),
            (#"{"goal": "g", "sol1": "a", "sol2": "b", "label": "x"}"#, "label"),
            (#"{"goal": "g", "sol1": "a", "sol2": "", "label": 0}"#, "sol1, sol2"),
            (#"{"goal": "g", "goal": "h", "sol1": "a", "sol2": "b", "label": 0}"#, ""),
        ])
    func malformedItems(line: String, key: String) throws {
        let folder = try TaskFolder(["piqa.jsonl": Self.line("one") + "\n" + line + "\n" + Self.line("two")])
        #expect {
            try folder.items(of: PIQA())
        } throws: { error in
            guard case .malformedItem(let file, 3, key, _)? = error as? TaskDataError else { return false }
            return file == folder.path("piqa.jsonl")
        }
        let items = try folder.items(of: PIQA(), skipsMalformed: true)
        #expect(items.items.map(\.line) == [1, 4])
        #expect(items.malformed.count == 1)
    }

    @Test("Keys inside of an item are named with the way to them")
    func nestedKeys() throws {
        func key(_ task: any JSONLinesTask, _ line: String) -> String? {
            do {
                _ = try task.item(from: record(line, file: "f"))
            } catch let error as JSONNodeError {
                return error.key
            } catch {}
            return nil
        }
        #expect(key(ARC.easy, #"{"question": "q", "choices": {"text": "a"}, "answerKey": "A"}"#) == "choices.text")
        #expect(
            key(ARC.easy, #"{"question": {"stem": "q", "choices": [{"text": "a"}]}, "answerKey": "A"}"#)
                == "question.choices[0].label")
        #expect(
            key(ARC.easy, #"{"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"}"#)
                == "answerKey")
        #expect(
            key(WinoGrande(), #"{"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"}"#) == "sentence"
        )
        #expect(
            key(WinoGrande(), #"{"sentence": "a _ b", "option1": "a", "option2": "b", "answer": ""}"#) == "answer")
        #expect(key(BoolQ(), #"{"passage": "p", "question": "q"}"#) == "answer")
        #expect(key(LAMBADA(), #"{"text": "ends with a space "}"#) == "text")
    }

    @Test("Bytes that are no text, nesting without end and a directory in place of a file are errors")
    func hostileFiles() throws {
        let folder = try TaskFolder(["piqa.jsonl": String(repeating: "[", count: 100_000)])
        #expect(throws: TaskDataError.self) { try folder.items(of: PIQA()) }
        try folder.write(Data([0x7B, 0x22, 0xFF, 0x22, 0x7D]), to: "piqa.jsonl")
        #expect(throws: TaskDataError.self) { try folder.items(of: PIQA()) }
        try folder.write(Data(), to: "boolq.jsonl/inside")
        #expect(throws: FileError.notARegularFile(file: folder.path("boolq.jsonl"))) { try folder.items(of: BoolQ()) }
    }

    @Test("Rows of comma-separated values with quotation marks, line ends of both kinds, and lines counted")
    func csv() throws {
        let text = "a,b\r\n\"x,\"\"y\"\"\nz\",\"\"\n\n,\nlast,one"
        let rows = try csvRows(Data(text.utf8), file: "f")
        #expect(
            rows == [
                CSVRow(line: 1, fields: ["a", "b"]), CSVRow(line: 2, fields: ["x,\"y\"\nz", ""]),
                CSVRow(line: 5, fields: ["", ""]), CSVRow(line: 6, fields: ["last", "one"]),
            ])
        #expect(
            throws: TaskDataError.malformedItem(
                file: "f", line: 2, key: "", reason: "a quotation mark is never closed")
        ) { try csvRows(Data("a\n\"b\nc".utf8), file: "f") }
    }
}
