import Foundation
import ModelDescription
import TensorFiles
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

/// Dense models against a plain decoder in double precision, and what their logits may not depend on.
@Suite("Dense models on the CPU")
struct DenseModelTests {
    @Test(
        "Logits of every family are the plain decoder's with keys and values in halves, within the rounding of the arithmetic",
        arguments: TinyFamily.all, [ElementType.float32, .float16, .bfloat16])
    func matchesReference(family: TinyFamily, type: ElementType) throws {
        let tiny = try TinyDenseModel(family.configuration(), elementType: type)
        let tokens = (0..<13).map { ($0 * 7 + 3) % tiny.configuration.vocabularySize }
        // Halves are all that the runtime rounds: the error is below 1e-6, or a few times 1e-5 where a key lies so near the
        // middle between two halves that it is rounded to the other. Unrounded keys and values are up to 1.4e-3 away.
        let expected = ReferenceModel(tiny, roundsKeysAndValues: true).logits(of: tokens)
        for kernels in DenseKernels.available {
            let found = try tiny.model(kernels: kernels).logits(of: tokens)
            #expect(
                relativeError(found, expected) < (kernels.arithmetic == .float32 ? 2e-4 : 3e-2), "\(kernels.name)")
        }
    }

    @Test("A token's logits have the same bits alone, in chunks, in company, and on any number of threads")
    func company() throws {
        let tiny = try TinyDenseModel(ModelConfiguration.tiny(heads: 4, keyValueHeads: 2), elementType: .bfloat16)
        let vocabulary = tiny.configuration.vocabularySize
        let texts = (0..<14).map { text in (0..<20).map { ($0 * (text + 3) + text) % vocabulary } }
        for kernels in DenseKernels.available {
            let one = try tiny.model(kernels: kernels, threads: 1)
            let expected = try texts.map { try one.logits(of: $0).suffix(vocabulary).map(\.bitPattern) }
            let two = try tiny.model(kernels: kernels, threads: 2)
            let context = try two.makeDecodingContext(
                DecodingLimits(sequences: 14, positions: 20, batchTokens: 14 * 7, logitRows: 14))
            let ids = try texts.map { _ in try context.makeSequence(capacity: 20) }
            for range in [0..<7, 7..<8, 8..<14, 14..<19, 19..<20] {
                var batch = TokenBatch()
                for (text, id) in zip(texts, ids) {
                    batch.append(text[range], to: id, sequenceLength: range.upperBound, logits: .last)
                }
                try context.decode(batch)
            }
            for row in texts.indices {
                let found = try context.withLogits(row: row) { $0.map(\.bitPattern) }
                #expect(found == expected[row], "\(kernels.name), text \(row)")
            }
        }
    }

    @Test("The products are of the instruction set that is asked for")
    func instructionSets() throws {
        let tiny = try TinyDenseModel(ModelConfiguration.tiny(), elementType: .float16)
        let checkpoint = try Checkpoint(directory: tiny.directory)
        for instructionSet in InstructionSet.available {
            let model = try DenseModel(checkpoint: checkpoint, threads: 1, instructionSet: instructionSet)
            #expect(model.arithmetic == .float32)
            #expect(model.kernels.prefix(4) == instructionSet.name.prefix(4))
        }
        #expect(throws: InstructionSetError.self) {
            try DenseModel(
                checkpoint: checkpoint, arithmetic: .bfloat16, instructionSet: InstructionSet(named: "portable"))
        }
    }

    @Test("A token reads the linear layers and the output head once, in the type of their file")
    func bytesPerToken() throws {
        for type in [ElementType.float32, .float16] {
            let tiny = try TinyDenseModel(ModelConfiguration.tiny(), elementType: type)
            let weights = tiny.configuration.linearWeightCount + 37 * 40
            let model = try tiny.model(kernels: DenseKernels.available[0])
            #expect(model.bytesPerToken == weights * type.byteWidth)
        }
    }

    @Test("Requests that are scored side by side have the scores of each by itself")
    func scores() throws {
        let tiny = try TinyDenseModel(ModelConfiguration.tiny(), elementType: .float16)
        let model = try tiny.model(kernels: DenseKernels.available[0], threads: 2)
        let requests = (1..<40).map { number in
            ContinuationRequest(
                context: (0..<(number * 5 % 13 + 1)).map { ($0 * 3 + number) % 37 },
                continuations: (0..<(number % 4 + 1)).map { choice in
                    (0...(choice + number) % 5).map { ($0 + choice * number) % 37 }
                })
        }
        let together = try model.scores(of: requests)
        for (request, scores) in zip(requests, together) {
            #expect(try model.scores(of: [request]) == [scores])
            for (separate, score) in zip(try model.separateScores(of: [request])[0], scores) {
                #expect(abs(separate.logLikelihood - score.logLikelihood) < 1e-6)
                #expect(separate.isGreedy == score.isGreedy)
            }
        }
    }

    @Test("A weight that is not finite is refused by file and tensor")
    func notFinite() throws {
        let name = "model.layers.1.mlp.up_proj.weight"
        for type in [ElementType.float32, .float16, .bfloat16] {
            let tiny = try TinyDenseModel(ModelConfiguration.tiny(), elementType: type) { tensor, values in
                if tensor == name { values[7] = .nan }
            }
            #expect {
                try tiny.model(kernels: DenseKernels.available[0])
            } throws: { error in
                guard case .nonFinite(_, name, 7, _)? = error as? TensorFileError else { return false }
                return true
            }
        }
    }

    @Test("A packed checkpoint is no dense one")
    func packed() throws {
        let packed = try TinyPackedModel()
        #expect(throws: CheckpointError.self) {
            try DenseModel(checkpoint: Checkpoint(directory: packed.directory))
        }
    }
}

/// A random dense checkpoint in a directory that goes away with it.
final class TinyDenseModel {
    let directory: URL
    let configuration: ModelConfiguration
    /// Every tensor's values as they were stored.
    private(set) var values: [String: [Float]] = [:]

    init(
        _ dense: ModelConfiguration, elementType: ElementType, seed: UInt64 = 1,
        spoil: (_ tensor: String, _ values: inout [Float]) -> Void = { _, _ in }
    ) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "onebit-dense-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let config = directory.appending(path: "config.json")
        try dense.jsonData(quantization: nil).write(to: config)
        configuration = try ModelConfiguration(contentsOf: config)
        let plan = configuration.tensorPlan(kind: .dense, weightType: elementType, valueType: elementType) { _ in
            elementType
        }
        let writer = try CheckpointWriter(directory: directory, tensors: plan)
        var generator = SeededGenerator(seed: seed)
        for tensor in plan {
            let range: ClosedRange<Float> = tensor.shape.count == 2 ? -0.25...0.25 : 0.5...1.5
            var floats = (0..<tensor.elementCount).map { _ in Float.random(in: range, using: &generator) }
            spoil(tensor.name, &floats)
            let (bytes, rounded) = TinyPackedModel.stored(floats, as: elementType)
            try bytes.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
            values[tensor.name] = rounded
        }
        try writer.finish()
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func model(kernels: DenseKernels, threads: Int = 1) throws -> DenseModel {
        try DenseModel(
            checkpoint: Checkpoint(directory: directory), kernels: kernels, instructionSet: InstructionSet.selected(),
            threads: threads)
    }
}

extension ModelConfiguration {
    /// LLaMA at sizes that no tile divides.
    fileprivate static func tiny(heads: Int = 2, keyValueHeads: Int = 1) throws -> ModelConfiguration {
        try ModelConfiguration(
            vocabularySize: 37, hiddenSize: 40, intermediateSize: 45, layerCount: 2, attentionHeadCount: heads,
            keyValueHeadCount: keyValueHeads, maximumPositions: 40, tiedEmbeddings: false)
    }
}
