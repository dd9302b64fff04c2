import Foundation
import JSON
import ModelDescription
import OneBitRuntime
import TensorFiles
import TestSupport
import Testing

/// A model of a family and settings that no tiny model under ../shared has, and what transformers computes of it:
/// Reference/model_families.json, which scripts/reference/model_families.py dumped.
struct ModelVariant: CustomTestStringConvertible {
    let name: String
    let config: JSONObject
    let tokens: [Int]
    /// Of the last token.
    let logits: [Float]
    /// The same with keys and values in half precision.
    let halfPrecisionCacheLogits: [Float]
    /// What enters each block, of the last token.
    let states: [Float]
    var testDescription: String { name }

    static let all: [ModelVariant] = {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "Reference/model_families.json")
        struct Numbers: Decodable {
            struct Variant: Decodable {
                let name: String
                let tokens: [Int]
                let logits: [Float]
                let halfPrecisionCacheLogits: [Float]
                let states: [Float]

                enum CodingKeys: String, CodingKey {
                    case name, tokens, logits, states
                    case halfPrecisionCacheLogits = "logits_of_half_precision_cache"
                }
            }
            let variants: [Variant]
        }
        guard let data = try? Data(contentsOf: file), let numbers = try? JSONDecoder().decode(Numbers.self, from: data),
            case .object(let root)? = try? JSONValue.parse(data), case .array(let variants)? = root["variants"]
        else { return [] }
        return zip(numbers.variants, variants).compactMap { numbers, variant in
            guard case .object(let object) = variant, case .object(let config)? = object["config"] else { return nil }
            return ModelVariant(
                name: numbers.name, config: config, tokens: numbers.tokens, logits: numbers.logits,
                halfPrecisionCacheLogits: numbers.halfPrecisionCacheLogits, states: numbers.states)
        }
    }()

    /// The checkpoint whose weights the script's formula gives.
    func write(to directory: URL) throws {
        let configuration = try ModelConfiguration(config)
        try configuration.jsonData(quantization: nil).write(to: directory.appending(path: "config.json"))
        let plan = configuration.fused(
            configuration.tensorPlan(kind: .dense, weightType: .float32, valueType: .float32) { _ in .float32 })
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

@Suite("Dense models on the CPU against transformers")
struct DenseVariantTests {
    @Test("The reference is there")
    func reference() { #expect(ModelVariant.all.count == 24) }

    /// What is left is keys and values that lie so near the middle between two halves that another order of additions rounds
    /// them otherwise. Against unrounded ones the error is 1e-5 to 5e-3: norms on what sublayers give, and caps of scores,
    /// let it grow.
    @Test("Logits are those of keys and values that are rounded to float16", arguments: ModelVariant.all)
    func logits(variant: ModelVariant) throws {
        let directory = try TemporaryDirectory()
        try variant.write(to: directory.url)
        let model = try DenseModel(checkpoint: Checkpoint(directory: directory.url), threads: 1)
        let logits = try model.logits(of: variant.tokens)
        let last = Array(logits.suffix(variant.logits.count))
        #expect(relativeError(last, variant.halfPrecisionCacheLogits) < 1e-4)
    }
}
