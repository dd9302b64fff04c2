import Foundation
import ModelDescription
import OneBitRuntime
import Synchronization
import TensorFiles
import Tokenization

@testable import OneBitTraining

/// Models and text small enough to train in a test.
enum TinyModels {
    static let shape = PretrainingShape(
        vocabularySize: 32, hiddenSize: 16, intermediateSize: 24, layers: 2, attentionHeads: 4, keyValueHeads: 2,
        context: 32)

    static func configuration() throws -> ModelConfiguration {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appending(path: "config.json")
        try shape.configuration(beginOfSequence: 1, endOfSequence: 2).write(to: file)
        return try ModelConfiguration(contentsOf: file)
    }

    static func random(seed: UInt64) throws -> Transformer {
        try Pretrainer(configuration: configuration(), elementType: .float32, seed: seed).evaluated.model
    }

    /// The same model as the packed runtime's sister runs it, from a checkpoint that is gone when this returns.
    static func dense(seed: UInt64, threads: Int = 1) throws -> DenseModel {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        try shape.configuration(beginOfSequence: 1, endOfSequence: 2)
            .write(to: directory.appending(path: "config.json"))
        try random(seed: seed).write(to: directory, elementType: .float32)
        return try DenseModel(
            checkpoint: Checkpoint(directory: directory), arithmetic: .float32, threads: threads)
    }

    /// Four sequences of eight tokens a step.
    static func budget(steps: Int) -> TrainingBudget {
        TrainingBudget(length: .steps(steps), batchSize: 4, sequenceLength: 8)
    }

    static let optimizer = OptimizerSettings(learningRates: LearningRates(all: 1e-2), warmupSteps: 2)

    static func pretraining(steps: Int) -> PretrainingConfiguration {
        PretrainingConfiguration(shape: shape, budget: budget(steps: steps), optimizer: optimizer, seed: 3)
    }

    /// A preset with the tiny budget.
    static func distillation(
        _ preset: DistillationConfiguration, steps: Int
    ) -> DistillationConfiguration {
        var configuration = preset
        configuration.budget = budget(steps: steps)
        configuration.seed = 3
        return configuration
    }

    /// A stream with structure: the next token is the last one plus one, mostly.
    static let ids: [Int32] = (0..<400).map { Int32(($0 * 7 / 5) % 29 + 3) }
    static let tokens = TrainingCorpus(ids)

    static func temporaryDirectory() throws -> URL {
        let url = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        return url
    }
}

/// One letter a token, `a` is 3.
struct LetterTokenizer: Tokenizer {
    var vocabularySize: Int { 32 }
    var beginOfSequence: Int? { 1 }
    var endOfSequence: Int? { 2 }

    func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
        (addSpecialTokens ? [1] : []) + text.utf8.map { Int($0) - 97 + 3 }
    }

    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
        String(decoding: ids.filter { $0 >= 3 }.map { UInt8($0 - 3 + 97) }, as: UTF8.self)
    }

    func id(of token: String) -> Int? { token.utf8.first.map { Int($0) - 97 + 3 } }
    func token(of id: Int) -> String? { decode([id], skipSpecialTokens: false) }
}

/// A number that tasks share.
final class Counter: Sendable {
    private let number = Mutex(0)

    var value: Int { number.withLock { $0 } }
    func set(_ value: Int) { number.withLock { $0 = value } }
}

/// Cancels a task from within its own work.
final class Canceller: Sendable {
    private let body = Mutex<(@Sendable () -> Void)?>(nil)
    private let isRequested = Atomic<Bool>(false)

    /// - Parameter cancel: Of the task, which is known only once it runs.
    func set(_ cancel: @escaping @Sendable () -> Void) { body.withLock { $0 = cancel } }

    /// Cancels soon, from a thread of its own: the work occupies those of the pools.
    func cancel() {
        guard !isRequested.exchange(true, ordering: .relaxed) else { return }
        Thread.detachNewThread {
            while true {
                if let body = self.body.withLock({ $0 }) { return body() }
                usleep(500)
            }
        }
    }
}
