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
    var testDescription: String { name }

    static let all: [ModelVariant] = {
        let file = URL(filePath: #filePath).deletingLastPathComponent()
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
            return ModelVariant(name: numbers.name, config: config, tokens: numbers.tokens, logits: numbers.logits)
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
    func reference() { #expect(ModelVariant.all.count == 21) }

    @Test("Logits equal within the rounding of keys and values to float16", arguments: ModelVariant.all)
    func logits(variant: ModelVariant) throws {
        let directory = try TemporaryDirectory()
        try variant.write(to: directory.url)
        let model = try DenseModel(checkpoint: Checkpoint(directory: directory.url), threads: 1)
        let logits = try model.logits(of: variant.tokens)
        // Norms on what sublayers give, as OLMo 2 has them, enlarge the rounding.
        #expect(relativeError(Array(logits.suffix(variant.logits.count)), variant.logits) < 3e-3)
    }
}
