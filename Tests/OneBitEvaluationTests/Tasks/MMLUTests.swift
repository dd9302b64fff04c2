import Foundation
import Testing

@testable import OneBitEvaluation

@Suite struct MMLUTests {
    private static let test = "\"What, then?\",one,\"two \"\"2\"\"\",three,four,B\n Next? ,a,b,c,d,D\n"
    private static let development = "First?,a,b,c,d,C\n\"Second\nline?\",e,f,g,h,A\n"

    private static let opening =
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
    private static let question = "What, then?\nA. one\nB. two \"2\"\nC. three\nD. four\nAnswer:"

    private func folder() throws -> TaskFolder {
        try TaskFolder([
            "mmlu/test/high_school_physics_test.csv": Self.test,
            "mmlu/dev/high_school_physics_dev.csv": Self.development,
        ])
    }

    @Test("The subject, the question, its answers by letter")
    func zeroShot() throws {
        let items = try folder().items(of: MMLU()).items
        #expect(items.map(\.answer) == [1, 3])
        #expect(items.map(\.subject) == ["high_school_physics", "high_school_physics"])
        #expect(items.map(\.line) == [1, 2])
        #expect(items[0].choices.map(\.continuation) == [" A", " B", " C", " D"])
        #expect(items[0].choices.map(\.context) == Array(repeating: Self.opening + Self.question, count: 4))
        // White space around the question goes.
        #expect(items[1].choices[0].context == Self.opening + "Next?\nA. a\nB. b\nC. c\nD. d\nAnswer:")
    }

    @Test("Examples of the development set with their answers, an empty line behind each")
    func fewShot() throws {
        let item = try #require(try folder().items(of: MMLU(shots: 2)).items.first)
        let first = "First?\nA. a\nB. b\nC. c\nD. d\nAnswer: C\n\n"
        let second = "Second\nline?\nA. e\nB. f\nC. g\nD. h\nAnswer: A\n\n"
        #expect(item.choices[0].context == Self.opening + first + second + Self.question)
        let oneShot = try #require(try folder().items(of: MMLU(shots: 1)).items.first)
        #expect(oneShot.choices[0].context == Self.opening + first + Self.question)
    }

    @Test("Too few examples are an error that says how many there are")
    func tooFewExamples() throws {
        let folder = try folder()
        #expect(
            throws: TaskDataError.tooFewExamples(
                file: folder.path("mmlu/dev/high_school_physics_dev.csv"), subject: "high_school_physics", wanted: 3,
                found: 2)
        ) { try folder.items(of: MMLU(shots: 3)) }
    }

    @Test("Lines of JSON with their subject; the limit is of each")
    func lines() throws {
        func line(_ subject: String, _ question: String, _ answer: String) -> String {
            #"{"question": "\#(question)", "subject": "\#(subject)", "choices": ["a", "b", "c", "d"], "answer": \#(answer)}"#
        }
        let folder = try TaskFolder([
            "mmlu_test.jsonl": [
                line("law", "q1", "0"), line("virology", "q2", "3"), line("law", "q3", "\"C\""),
                line("virology", "q4", "1"),
            ].joined(separator: "\n"),
            "mmlu_dev.jsonl": [line("virology", "d1", "1"), line("law", "d2", "2")].joined(separator: "\n"),
        ])
        #expect(try folder.items(of: MMLU()).items.map(\.answer) == [0, 3, 2, 1])
        let limited = try folder.items(of: MMLU(shots: 1), limit: 1).items
        #expect(limited.map(\.subject) == ["law", "virology"])
        #expect(limited[0].choices[0].context.contains("about law.\n\nd2\nA. a"))
        #expect(limited[1].choices[0].context.contains("about virology.\n\nd1\nA. a"))
    }

    @Test("A row of another number of fields, and an answer that is no letter, are named by their line")
    func malformed() throws {
        let folder = try TaskFolder(["mmlu/test/law_test.csv": "q,a,b,c,d,A\n\"q\n\",a,b,c,d\nq,a,b,c,d,E\n"])
        let file = folder.path("mmlu/test/law_test.csv")
        #expect {
            try folder.items(of: MMLU())
        } throws: { error in
            guard case .malformedItem(file, 2, "", _)? = error as? TaskDataError else { return false }
            return true
        }
        let items = try folder.items(of: MMLU(), skipsMalformed: true)
        #expect(items.items.count == 1)
        #expect(
            items.malformed.last
                == .malformedItem(file: file, line: 4, key: "answer", reason: "expected A, B, C or D, found \"E\""))
    }
}
