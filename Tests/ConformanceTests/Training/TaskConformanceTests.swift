import Foundation
import ModelDescription
import OneBitEvaluation
import OneBitRuntime
import OneBitTraining
import TestSupport
import Testing
import Tokenization

/// The six zero-shot tasks on stories260K, against lm-evaluation-harness 0.4.13 (`zero_shot.json` says how it was run).
@Suite("Zero-shot tasks, against lm-evaluation-harness", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct TaskConformanceTests {
    private struct Reference: Decodable {
        struct Item: Decodable {
            let gold: Int
            let loglikelihoods: [Double]
            let acc: Double
            let accNorm: Double
        }
        struct Task: Decodable {
            let acc: Double
            let accNorm: Double
            let items: [Item]
        }
        struct Variants: Decodable {
            let withBos: [String: Task]
            let withoutBos: [String: Task]
        }
        let variants: Variants
    }

    private static let reference = Result {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let file = SharedData.url("data/reference/stories260K/zero_shot.json")
        return try decoder.decode(Reference.self, from: Data(contentsOf: file)).variants
    }

    private let model: TorchModel
    private let tokenizer: any Tokenizer

    init() throws {
        let directory = SharedData.url("models/stories260K")
        model = try TorchModel(checkpoint: Checkpoint(directory: directory), threads: 1)
        tokenizer = try loadTokenizer(from: directory)
    }

    private func results(of name: String, limit: Int, withBOS: Bool) throws -> [ItemResult] {
        let encoder = PromptEncoder(
            tokenizer: tokenizer, prefix: tokenizer.beginOfSequence, addsSpecialTokens: withBOS)
        let items = try KnownTasks.task(name).items(
            from: TaskDataSource(directory: SharedData.url("data/eval"), limit: limit))
        return try TaskEvaluation(model: model, encoder: encoder, batchSize: 8).run(items.items).results
    }

    /// Items to compare: enough to meet every kind of prompt, few enough for a debug build. ONEBIT_ALL_ITEMS=1 takes all
    /// 200 of the reference.
    private static let limit = ProcessInfo.processInfo.environment["ONEBIT_ALL_ITEMS"] == "1" ? 200 : 24

    @Test(
        "The first items' log-likelihoods equal within 1e-3, and so does what is right",
        arguments: KnownTasks.paper.map(\.name),
        [true, false])
    func items(name: String, withBOS: Bool) throws {
        let reference = try Self.reference.get()
        let expected = try #require((withBOS ? reference.withBos : reference.withoutBos)[name])
        let found = try results(of: name, limit: Self.limit, withBOS: withBOS)
        #expect(found.count == Self.limit)
        for (index, (item, expected)) in zip(found, expected.items).enumerated() {
            #expect(item.item.answer == expected.gold)
            #expect(item.isRight == (expected.acc == 1), "item \(index)")
            #expect(item.isRightNormalized == (expected.accNorm == 1), "item \(index)")
            for (score, logLikelihood) in zip(item.scores, expected.loglikelihoods) {
                #expect(abs(score.logLikelihood - logLikelihood) < 1e-3, "item \(index)")
            }
        }
        guard Self.limit == expected.items.count else { return }
        expectEqual(found, expected)
    }

    @Test("acc and acc_norm of 200 items are exactly the harness's", arguments: ["winogrande", "arc_challenge"])
    func accuracies(name: String) throws {
        let expected = try #require(try Self.reference.get().withBos[name])
        expectEqual(try results(of: name, limit: 200, withBOS: true), expected)
    }

    private func expectEqual(_ found: [ItemResult], _ expected: Reference.Task) {
        let metrics = TaskResult(found, scoring: .multipleChoice).metrics
        #expect(metrics[.accuracy]?.value == expected.acc)
        #expect(metrics[.normalizedAccuracy]?.value == expected.accNorm)
    }
}
