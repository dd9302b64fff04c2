import Foundation
import JSON
import ModelDescription
import OneBitRuntime
import OneBitTraining
import TensorFiles
import TestSupport
import Testing

/// Settings of the families that no tiny model under ../shared has, against transformers: the logits of
/// Reference/model_families.json, which scripts/reference/model_families.py dumped.
@Suite("Model variants against transformers")
struct ModelVariantTests {
    struct Variant: CustomTestStringConvertible {
        let name: String
        let config: JSONObject
        let tokens: [Int]
        let logits: [Float]
        var testDescription: String { name }
    }

    static let variants: [Variant] = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Reference/model_families.json")
        struct Numbers: Decodable {
            struct Variant: Decodable {
                let name: String
                let tokens: [Int]
                let logits: [Float]
            }
            let variants: [Variant]
        }
        guard let data = try? Data(contentsOf: file), let numbers = try? JSONDecoder().decode(Numbers.self, from: data),
            case .object(let root)? = try? JSONValue.parse(data), case .array(let variants)? = root["variants"]
        else { return [] }
        return zip(numbers.variants, variants).compactMap { numbers, variant in
            guard case .object(let object) = variant, case .object(let config)? = object["config"] else { return nil }
            return Variant(name: numbers.name, config: config, tokens: numbers.tokens, logits: numbers.logits)
        }
    }()

    @Test("The reference is there")
    func reference() { #expect(Self.variants.count == 9) }

    @Test("Logits equal within 1e-5 relative, of the whole and token by token", arguments: variants)
    func logits(variant: Variant) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Self.write(variant, to: directory)
        let model = try TorchModel(checkpoint: Checkpoint(directory: directory), threads: 1)
        let vocabulary = model.configuration.vocabularySize
        let logits = try model.logits(of: variant.tokens)
        #expect(relativeError(Array(logits.suffix(vocabulary)), variant.logits) < 1e-5)
        // Dynamic scaling turns earlier keys by other angles when it sees the tokens one by one; so does transformers.
        if model.configuration.structure.dependsOnLength { return }
        let sequence = try SingleSequence(model)
        var last: [Float] = []
        for token in variant.tokens { last = try sequence.read([token]) }
        #expect(relativeError(last, variant.logits) < 1e-5)
    }

    @Test("Scores of continuations, in any company, are those of each alone", arguments: variants)
    func scores(variant: Variant) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try Self.write(variant, to: directory)
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

    /// The checkpoint whose weights the script's formula gives.
    private static func write(_ variant: Variant, to directory: URL) throws {
        let configuration = try ModelConfiguration(variant.config)
        try configuration.jsonData(quantization: nil).write(to: directory.appending(path: "config.json"))
        let plan = configuration.tensorPlan(kind: .dense, weightType: .float32, valueType: .float32) { _ in .float32 }
        let order = plan.map(\.name).sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
        let writer = try CheckpointWriter(directory: directory, tensors: plan)
        for tensor in plan {
            let number = order.firstIndex(of: tensor.name) ?? 0
            let shift = tensor.name.contains("norm") && tensor.name.hasSuffix(".weight") ? 1.0 : 0.0
            try writer.write(
                tensor.name,
                floats: (0..<tensor.elementCount).map { index in
                    let residue = (7919 * index + 104_729 * number + 13) % 2003
                    return Float(0.3 * (Double(residue) / 2003 - 0.5) + shift)
                })
        }
        try writer.finish()
    }
}
