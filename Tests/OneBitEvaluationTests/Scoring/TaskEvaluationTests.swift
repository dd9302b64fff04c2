import Foundation
import LanguageModel
import ModelDescription
import Synchronization
import TensorFiles
import Testing

@testable import OneBitEvaluation

/// Scores a continuation by arithmetic on its tokens, and keeps what it was asked.
private final class RecordingModel: CausalLanguageModel {
    let configuration: ModelConfiguration
    let isBroken: Bool
    let batches = Mutex<[[ContinuationRequest]]>([])

    init(maximumPositions: Int = 64, isBroken: Bool = false) throws {
        self.isBroken = isBroken
        configuration = try ModelConfiguration(
            vocabularySize: 512, hiddenSize: 8, intermediateSize: 8, layerCount: 1, attentionHeadCount: 1,
            maximumPositions: maximumPositions, tiedEmbeddings: true, beginOfSequence: nil, endOfSequence: [])
    }

    static func sum(_ context: [Int], _ continuation: [Int]) -> Double {
        -Double(context.reduce(0, +) + 3 * continuation.reduce(0, +))
    }

    func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]] {
        batches.withLock { $0.append(requests) }
        for request in requests { try check(request) }
        return requests.map { request in
            request.continuations.map {
                ContinuationScore(
                    logLikelihood: isBroken ? .nan : Self.sum(request.context, $0), isGreedy: $0.count == 1)
            }
        }
    }

    func logits(of tokens: [Int]) throws -> [Float] { throw CancellationError() }
    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext { throw CancellationError() }
}

@Suite("Asking a model about items")
struct TaskEvaluationTests {
    private let encoder = PromptEncoder(tokenizer: PairTokenizer(), prefix: 1)

    private func item(_ contexts: [String], _ continuations: [String], line: Int = 1) -> TaskItem {
        TaskItem(
            file: "f", line: line,
            choices: zip(contexts, continuations).map { TaskItem.Choice(context: $0, continuation: $1, length: 1) },
            answer: 0)
    }

    private func expectedSums(_ item: TaskItem) throws -> [Double] {
        try encoder.pairs(of: item.choices).map { RecordingModel.sum($0.context, $0.continuation) }
    }

    @Test("Choices that share a context are one request; each gets its own score back")
    func grouping() throws {
        let model = try RecordingModel()
        let items = [item(["x", "y", "x"], [" p", " q", " r"]), item(["z", "z"], [" s", " tt"])]
        let outcome = try TaskEvaluation(model: model, encoder: encoder, batchSize: 2).run(items)
        #expect(outcome.results.map(\.item) == items)
        #expect(try outcome.results.map { $0.scores.map(\.logLikelihood) } == items.map(expectedSums))
        #expect(outcome.results[1].scores.map(\.isGreedy) == [true, false])
        let requests = model.batches.withLock { $0 }
        #expect(requests.count == 1)
        #expect(requests[0].map(\.continuations.count) == [2, 2, 1])
    }

    @Test("Long items come first, in batches; the results keep the order of the items")
    func order() throws {
        let model = try RecordingModel()
        let items = (1...5).map { item([String(repeating: "x", count: $0)], [" y"], line: $0) }
        var states: [TaskEvaluation.Progress] = []
        let outcome = try TaskEvaluation(model: model, encoder: encoder, batchSize: 2).run(items) { states.append($0) }
        #expect(outcome.results.map(\.item.line) == [1, 2, 3, 4, 5])
        #expect(model.batches.withLock { $0.map { $0.map(\.context.count) } } == [[6, 5], [4, 3], [2]])
        #expect(states.suffix(3).map(\.items) == [2, 4, 5])
        #expect(states.last?.tokens == 25)
        #expect(states.last?.totalTokens == 25)
    }

    @Test("An item longer than the context loses tokens on the left and is counted; each choice by itself")
    func truncation() throws {
        let model = try RecordingModel(maximumPositions: 4)
        let items = [item(["xyz", "xyz"], [" a", " acd"]), item(["x"], [" a"], line: 2)]
        let results = try TaskEvaluation(model: model, encoder: encoder).run(items).results
        #expect(results.map(\.isTruncated) == [true, false])
        let contexts = model.batches.withLock { $0[0].map(\.context) }
        #expect(contexts == [[1, 120, 121, 122], [121, 122]])
        #expect(TaskResult(results, scoring: .multipleChoice).truncatedCount == 1)
    }

    @Test("A shorter context than the model's cuts as a model of that context does")
    func shorterContext() throws {
        let model = try RecordingModel(maximumPositions: 8)
        let items = [item(["xyz", "xyz"], [" a", " acd"]), item(["x"], [" a"], line: 2)]
        let results = try TaskEvaluation(model: model, encoder: encoder, context: 4).run(items).results
        #expect(results.map(\.isTruncated) == [true, false])
        #expect(model.batches.withLock { $0[0].map(\.context) } == [[1, 120, 121, 122], [121, 122]])
    }

    @Test("Of a choice that is longer than the context the end is scored")
    func longChoice() throws {
        let model = try RecordingModel(maximumPositions: 4)
        let results = try TaskEvaluation(model: model, encoder: encoder).run([item(["x"], [" defghij"])]).results
        #expect(results[0].isTruncated)
        let request = model.batches.withLock { $0[0][0] }
        #expect(request == ContinuationRequest(context: [102], continuations: [[103, 104, 105, 106]]))
    }

    @Test("A choice of no tokens is named; or left out and counted")
    func unscorable() throws {
        let model = try RecordingModel()
        let items = [item(["x"], [" a"]), item(["x", "x"], [" a", ""], line: 7)]
        #expect(
            throws: UnscorableItemError(
                file: "f", line: 7, choice: 1, reason: "the tokenizer makes no token of it")
        ) { try TaskEvaluation(model: model, encoder: encoder).run(items) }
        let outcome = try TaskEvaluation(model: model, encoder: encoder, skipsUnscorable: true).run(items)
        #expect(outcome.results.map(\.item.line) == [1])
        #expect(outcome.unscorable.map(\.line) == [7])
        let withoutBegin = PromptEncoder(tokenizer: PairTokenizer(), prefix: nil, addsSpecialTokens: false)
        #expect(throws: UnscorableItemError.self) {
            try TaskEvaluation(model: model, encoder: withoutBegin).run([item([" "], ["a"])])
        }
    }

    @Test("A model that computes no numbers is found out at the item")
    func notFinite() throws {
        let model = try RecordingModel(isBroken: true)
        #expect {
            try TaskEvaluation(model: model, encoder: encoder).run([item(["x"], [" y"], line: 3)])
        } throws: { error in (error as? NotFiniteError)?.line == 3 }
    }

    // MARK: The journal

    private func journal(_ folder: TaskFolder, identity: String = "weights") throws -> EvaluationJournal {
        try EvaluationJournal(directory: folder.url, model: "model", identity: identity)
    }

    private let items: [TaskItem] = (1...4).map { number in
        TaskItem(
            file: "f", line: number,
            choices: ["p", "q"].map {
                TaskItem.Choice(context: String(repeating: "x", count: number), continuation: " " + $0, length: 1)
            }, answer: 0)
    }

    @Test("A run that ended early goes on where it stopped, and a finished one asks nothing")
    func resumption() throws {
        let folder = try TaskFolder()
        let whole = try TaskEvaluation(model: RecordingModel(), encoder: encoder).run(items).results
        #expect(throws: CancellationError.self) {
            try TaskEvaluation(model: RecordingModel(), encoder: encoder).run(items, journal: journal(folder)) {
                if $0.items == 2 { throw CancellationError() }
            }
        }
        for asked in [2, 0] {
            let model = try RecordingModel()
            let results = try TaskEvaluation(model: model, encoder: encoder).run(items, journal: journal(folder))
                .results
            #expect(model.batches.withLock { $0.count } == asked)
            #expect(results.map(\.scores) == whole.map(\.scores))
        }
    }

    @Test("Another model, another prompt: nothing is found")
    func staleEntries() throws {
        let folder = try TaskFolder()
        _ = try TaskEvaluation(model: RecordingModel(), encoder: encoder).run(items, journal: journal(folder))
        let model = try RecordingModel()
        _ = try TaskEvaluation(model: model, encoder: encoder).run(
            items, journal: journal(folder, identity: "other weights"))
        let withoutBOS = PromptEncoder(tokenizer: PairTokenizer(), prefix: 1, addsSpecialTokens: false)
        _ = try TaskEvaluation(model: model, encoder: withoutBOS).run(items, journal: journal(folder))
        #expect(model.batches.withLock { $0.count } == 8)
    }

    @Test("A last line that broke off is computed anew, wherever it broke off")
    func tornLine() throws {
        let folder = try TaskFolder()
        let whole = try TaskEvaluation(model: RecordingModel(), encoder: encoder).run(items, journal: journal(folder))
        let file = try journal(folder).file
        let contents = try Data(contentsOf: file)
        for count in stride(from: 0, to: contents.count, by: 7) {
            try contents.prefix(count).write(to: file)
            let outcome = try TaskEvaluation(model: RecordingModel(), encoder: encoder).run(
                items, journal: journal(folder))
            #expect(outcome.results.map(\.scores) == whole.results.map(\.scores))
            #expect(try Data(contentsOf: file).count == contents.count)
        }
    }

    @Test("A line that is no entry is refused by its number, and so is a journal that is in use")
    func damagedJournal() throws {
        let folder = try TaskFolder()
        let file: URL
        do {
            let journal = try journal(folder)
            file = journal.file
            try journal.append([(1, [ContinuationScore(logLikelihood: -1, isGreedy: true)])])
            #expect(throws: JournalError.inUse(file: file.path)) { try self.journal(folder) }
        }
        #expect(try journal(folder).scores(of: 1, count: 1)?.first?.logLikelihood == -1)
        #expect(try journal(folder).scores(of: 1, count: 2) == nil)
        let lines = try String(contentsOf: file, encoding: .utf8)
        try Data((lines + "{}\n" + lines).utf8).write(to: file)
        #expect(throws: JournalError.damaged(file: file.path, line: 3)) { try journal(folder) }
        try Data("something else\n".utf8).write(to: file)
        #expect(throws: JournalError.damaged(file: file.path, line: 1)) { try journal(folder) }
    }
}
