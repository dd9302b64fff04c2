import Foundation
import ModelDescription
import OneBitRuntime
import OneBitTraining
import TestSupport
import Testing

/// Settings of the families that no tiny model under ../shared has, against transformers: the logits of
/// Reference/model_families.json, which scripts/reference/model_families.py dumped.
@Suite("Models on libtorch against transformers")
struct TorchVariantTests {
    @Test(
        "Logits and states equal within 1e-5 relative, the logits of the whole and token by token",
        arguments: ModelVariant.all)
    func logits(variant: ModelVariant) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try variant.write(to: directory)
        let model = try TorchModel(checkpoint: Checkpoint(directory: directory), threads: 1)
        let vocabulary = model.configuration.vocabularySize
        let found = try model.states(of: variant.tokens)
        #expect(relativeError(Array(found.logits.suffix(vocabulary)), variant.logits) < 1e-5)
        let states = found.hiddenStates.dropLast().flatMap { $0.suffix(model.configuration.hiddenSize) }
        #expect(relativeError(states, variant.states) < 1e-5)
        // Dynamic scaling turns earlier keys by other angles when it sees the tokens one by one; so does transformers.
        if model.configuration.structure.dependsOnLength { return }
        let sequence = try SingleSequence(model)
        var last: [Float] = []
        for token in variant.tokens { last = try sequence.read([token]) }
        #expect(relativeError(last, variant.logits) < 1e-5)
    }

    @Test("Scores of continuations, in any company, are those of each alone", arguments: ModelVariant.all)
    func scores(variant: ModelVariant) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try variant.write(to: directory)
        let model = try TorchModel(checkpoint: Checkpoint(directory: directory), threads: 1)
        // Of the dynamic variant, one ends within its first context and the other beyond.
        let requests = [
            ContinuationRequest(
                context: Array(variant.tokens.prefix(9)), continuations: [[1, 2, 3, 4], [5], [1, 7]]),
            ContinuationRequest(context: Array(variant.tokens.dropLast(4)), continuations: [[8, 9], [3, 3, 3]]),
        ]
        let together = try model.scores(of: requests).joined().map(\.logLikelihood)
        let alone = try model.separateScores(of: requests).joined().map(\.logLikelihood)
        for (found, expected) in zip(together, alone) { #expect(abs(found - expected) < 1e-4 * abs(expected)) }
        #expect(together.count == 5)
    }
}
