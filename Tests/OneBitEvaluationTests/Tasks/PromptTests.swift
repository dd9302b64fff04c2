import Foundation
import Testing

@testable import OneBitEvaluation

@Suite("What an item of each task becomes")
struct PromptTests {
    private func item(_ task: any JSONLinesTask, _ line: String) throws -> TaskItem {
        try task.item(from: record(line, file: "file"))
    }

    @Test("HellaSwag: label, scene, second part capitalised; endings behind a space")
    func hellaSwag() throws {
        let item = try item(
            HellaSwag(),
            """
            {"activity_label": "Ice fishing", "ctx_a": "Two sit on a lake.", "ctx_b": "a MAN", "label": "1",
             "endings": ["drills.", "sleeps. ", "é sings", "x"], "ind": 3}
            """)
        #expect(item.choices.map(\.context) == Array(repeating: "Ice fishing: Two sit on a lake. A man", count: 4))
        #expect(item.choices.map(\.continuation) == [" drills.", " sleeps.", " é sings", " x"])
        #expect(item.choices.map(\.length) == [7, 7, 7, 1])
        #expect(item.answer == 1)
    }

    @Test(
        "HellaSwag: WikiHow's markup goes",
        arguments: [
            (" How to bake [title] Mix it. [step] Take  flour.\n", "How to bake. Mix it. Take flour."),
            ("[header] Warm up [substeps] a", " Warm up a"),
            ("no end [ of it", "no end [ of it"), ("a [b\nc] d [e]", "a [b\nc] d "), ("[a [b] c] d", " c] d"),
            ("four    spaces", "four  spaces"), ("", ""),
        ])
    func cleaning(text: String, cleaned: String) {
        #expect(HellaSwag.cleaned(text) == cleaned)
    }

    @Test("HellaSwag: an item without a second part, its label a number")
    func hellaSwagWithoutSecondPart() throws {
        let item = try item(
            HellaSwag(),
            #"{"activity_label": "A", "ctx_a": "B.", "ctx_b": "", "label": 0, "endings": ["c", "d"]}"#)
        #expect(item.choices[0].context == "A: B.")
    }

    @Test("PIQA: a question and two solutions as they are written")
    func piqa() throws {
        let item = try item(PIQA(), #"{"goal": "dry a cup", "sol1": "a towel ", "sol2": "a  hose", "label": 1}"#)
        #expect(item.choices.map(\.context) == ["Question: dry a cup\nAnswer:", "Question: dry a cup\nAnswer:"])
        #expect(item.choices.map(\.continuation) == [" a towel ", " a  hose"])
        #expect(item.choices.map(\.length) == [8, 7])
        #expect(item.answer == 1)
    }

    @Test("WinoGrande: each option fills the blank, the rest of the sentence is scored")
    func winoGrande() throws {
        let item = try item(
            WinoGrande(),
            #"{"sentence": "Ann beat Eve as _ 's fast. ", "option1": "Ann", "option2": "Eve", "answer": "2"}"#)
        #expect(item.choices.map(\.context) == ["Ann beat Eve as Ann", "Ann beat Eve as Eve"])
        #expect(item.choices.map(\.continuation) == [" 's fast.", " 's fast."])
        #expect(item.choices.map(\.length) == [19, 19])
        #expect(item.answer == 1)
    }

    @Test("BoolQ: passage and question, no or yes; the answer by either name")
    func boolQ() throws {
        for answer in [#""answer": true"#, #""label": 1"#, #""answer": false, "label": 1"#] {
            let item = try item(BoolQ(), #"{"passage": "It is.", "question": "is it", \#(answer)}"#)
            #expect(item.choices.map(\.context) == Array(repeating: "It is.\nQuestion: is it?\nAnswer:", count: 2))
            #expect(item.choices.map(\.continuation) == [" no", " yes"])
            #expect(item.answer == 1)
        }
    }

    @Test("ARC: three to five choices, letters or digits; the layout of its authors too")
    func arc() throws {
        let three = try item(
            ARC.easy,
            """
            {"question": "Why?", "choices": {"text": ["a", "bb", "ccc"], "label": ["1", "2", "3"]}, "answerKey": "3"}
            """)
        #expect(three.choices.map(\.context) == Array(repeating: "Question: Why?\nAnswer:", count: 3))
        #expect(three.choices.map(\.continuation) == [" a", " bb", " ccc"])
        #expect(three.answer == 2)
        let original = try item(
            ARC.challenge,
            """
            {"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]},
             "answerKey": "B"}
            """)
        #expect(original.choices.map(\.continuation) == [" a", " b"])
        #expect(original.answer == 1)
    }

    @Test("LAMBADA: the last word behind the last space; a single word has no context")
    func lambada() throws {
        let item = try item(LAMBADA(), #"{"text": "He said:  \"you\nknow me"}"#)
        #expect(
            item.choices == [
                TaskItem.Choice(context: "He said:  \"you\nknow", continuation: " me", length: 2)
            ])
        #expect(item.answer == 0)
        let word = try self.item(LAMBADA(), #"{"text": "word"}"#)
        #expect(word.choices == [TaskItem.Choice(context: "", continuation: " word", length: 4)])
    }

    @Test("Lengths are Python's: by scalars, not by what is seen as one character, and not by bytes")
    func lengths() throws {
        let item = try item(
            PIQA(), #"{"goal": "g", "sol1": "e\u0301", "sol2": "\ud83d\udc69\u200d\ud83d\ude80", "label": 0}"#)
        #expect(item.choices.map(\.length) == [2, 3])
    }
}
