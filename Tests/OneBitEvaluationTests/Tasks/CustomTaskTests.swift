import Foundation
import JSON
import Testing

@testable import OneBitEvaluation

@Suite("A user's own task")
struct CustomTaskTests {
    private func task(_ file: String, data: String) throws -> (CustomTask, TaskFolder) {
        let folder = try TaskFolder(["task.json": file, "data.jsonl": data])
        return (try CustomTask(contentsOf: folder.url.appending(path: "task.json")), folder)
    }

    @Test("A context with keys, a list of choices, an answer by its number; the data lies beside the file")
    func list() throws {
        let (task, folder) = try task(
            """
            {"name": "capitals", "data": "data.jsonl", "context": "{{{n}}} Question: {q}\\nAnswer:", "choices": "options",
             "answer": "right"}
            """,
            data: #"{"n": 7, "q": "France?", "options": ["Nice", "Paris"], "right": 1}"#)
        let elsewhere = TaskDataSource(directory: folder.url.appending(path: "elsewhere"))
        let items = try task.items(from: elsewhere).items
        #expect(items[0].choices.map(\.context) == Array(repeating: "{7} Question: France?\nAnswer:", count: 2))
        #expect(items[0].choices.map(\.continuation) == [" Nice", " Paris"])
        #expect(items[0].answer == 1)
        #expect(task.name == "capitals")
        #expect(task.tableMetric == .normalizedAccuracy)
    }

    @Test(
        "Choices by templates; the answer as a label, a text, or yes and no",
        arguments: [
            (#""labels": ["A", "B"]"#, #""key": "B""#), (#""labels": "l""#, #""key": "y", "l": ["x", "y"]"#),
            ("", #""key": "no""#), ("", #""key": true"#), ("", #""key": 1"#),
        ])
    func answers(labels: String, answer: String) throws {
        let (task, folder) = try task(
            """
            {"name": "t", "data": "data.jsonl", "context": "c", "choices": ["{a}", "no"], "answer": "key",
             "delimiter": "", "metric": "acc"\(labels.isEmpty ? "" : ", ")\(labels)}
            """,
            data: #"{"a": "yes", \#(answer)}"#)
        let item = try #require(try folder.items(of: task).items.first)
        #expect(item.choices.map(\.continuation) == ["yes", "no"])
        #expect(item.answer == 1)
        #expect(task.tableMetric == .accuracy)
    }

    @Test(
        "What is wrong in a task file is named by its key",
        arguments: [
            ("[]", ""), ("{", ""), (#"{"nam": 1}"#, "nam"), (#"{"name": 1}"#, "name"),
            (#"{"name": "n", "data": "d", "context": "{a"}"#, "context"),
            (#"{"name": "n", "data": "d", "context": "a}"}"#, "context"),
            (#"{"name": "n", "data": "d", "context": "{}"}"#, "context"),
            (#"{"name": "n", "data": "d", "context": "c", "choices": 3}"#, "choices"),
            (#"{"name": "n", "data": "d", "context": "c", "choices": "c"}"#, "answer"),
            (#"{"name": "n", "data": "d", "context": "c", "choices": "c", "answer": "a", "labels": []}"#, "labels"),
            (
                #"{"name": "n", "data": "d", "context": "c", "choices": "c", "answer": "a", "metric": "perplexity"}"#,
                "metric"
            ),
        ])
    func malformedFiles(file: String, key: String) throws {
        #expect {
            try task(file, data: "")
        } throws: { error in (error as? JSONNodeError)?.key == key }
    }

    @Test("What is wrong in an item is named by its line and key")
    func malformedItems() throws {
        let (task, folder) = try task(
            #"{"name": "t", "data": "data.jsonl", "context": "{q}", "choices": "c", "answer": "a", "labels": ["A", "B"]}"#,
            data: #"{"q": "q", "c": ["x", "y"], "a": "C"}"#)
        #expect(
            throws: TaskDataError.malformedItem(
                file: folder.path("data.jsonl"), line: 1, key: "a", reason: "\"C\" is none of the labels")
        ) { try folder.items(of: task) }
    }

    @Test("Names of tasks are those of the harness; an unknown one is refused with the list")
    func names() throws {
        #expect(
            KnownTasks.names == [
                "winogrande", "hellaswag", "piqa", "boolq", "arc_easy", "arc_challenge", "mmlu", "lambada_openai",
            ])
        for name in KnownTasks.names { #expect(try KnownTasks.task(name).name == name) }
        #expect(throws: UnknownTaskError(name: "arc")) { try KnownTasks.task("arc") }
    }
}
