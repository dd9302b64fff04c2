import Foundation
import ModelDescription
import TensorFiles

@testable import LanguageModel
@testable import OneBitRuntime

/// A random packed checkpoint in a directory that goes away with it.
final class TinyPackedModel {
    let directory: URL
    let configuration: ModelConfiguration
    /// Every tensor's values as they were stored; a sign matrix as ±1, [out, in].
    private(set) var values: [String: [Float]] = [:]

    /// Sizes that no vector width divides: 20 inputs, 27 of them in the MLP, heads of 10.
    convenience init(
        hiddenSize: Int = 20, intermediateSize: Int = 27, layerCount: Int = 2, heads: Int = 2, keyValueHeads: Int = 1,
        vocabularySize: Int = 37, maximumPositions: Int = 40, tiedEmbeddings: Bool = false, postLayerNorm: Bool = true,
        floatType: ElementType = .float32, seed: UInt64 = 1,
        spoil: (_ tensor: String, _ values: inout [Float]) -> Void = { _, _ in }
    ) throws {
        let dense = try ModelConfiguration(
            vocabularySize: vocabularySize, hiddenSize: hiddenSize, intermediateSize: intermediateSize,
            layerCount: layerCount, attentionHeadCount: heads, keyValueHeadCount: keyValueHeads,
            maximumPositions: maximumPositions, tiedEmbeddings: tiedEmbeddings)
        try self.init(dense, postLayerNorm: postLayerNorm, floatType: floatType, seed: seed, spoil: spoil)
    }

    /// A model of any family.
    init(
        _ dense: ModelConfiguration, postLayerNorm: Bool = true, floatType: ElementType = .float32, seed: UInt64 = 1,
        spoil: (_ tensor: String, _ values: inout [Float]) -> Void = { _, _ in }
    ) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "onebit-runtime-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let quantization = QuantizationConfiguration(
            checkpointFormat: .packed, postLayerNorm: postLayerNorm, valueType: floatType)
        let config = directory.appending(path: "config.json")
        try dense.jsonData(quantization: quantization).write(to: config)
        configuration = try ModelConfiguration(contentsOf: config)

        let plan = configuration.tensorPlan(kind: .packed, weightType: .int8, valueType: floatType) { _ in floatType }
        let writer = try CheckpointWriter(directory: directory, tensors: plan)
        var generator = SeededGenerator(seed: seed)
        for tensor in plan {
            if tensor.elementType == .int8 {
                let linear = configuration.linears.first { $0.weightName == tensor.name }!
                var bytes = [UInt8](repeating: 0, count: tensor.byteCount)
                for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &generator) }
                try bytes.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
                values[tensor.name] = (0..<linear.outputs).flatMap { row in
                    (0..<linear.inputs).map { column -> Float in
                        bytes[row * linear.packedBytesPerRow + column / 8] >> (column % 8) & 1 == 1 ? -1 : 1
                    }
                }
            } else {
                // Norms around 1, scales positive as an outer product's are, embeddings around 0.
                let range: ClosedRange<Float> = tensor.shape.count == 2 ? -1...1 : 0.5...1.5
                var floats = (0..<tensor.elementCount).map { _ in Float.random(in: range, using: &generator) }
                if tensor.name.hasSuffix("input_factor") { floats = floats.map { $0 / 4 } }
                spoil(tensor.name, &floats)
                let (bytes, rounded) = Self.stored(floats, as: floatType)
                try bytes.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
                values[tensor.name] = rounded
            }
        }
        try writer.finish()
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    /// Loads it; the layout is kept in memory, so that tests don't share files unless they mean to.
    func model(
        threads: Int = 1, inputPrecision: InputPrecision = .bits16, headPrecision: HeadPrecision = .stored,
        instructionSet: InstructionSet? = nil, layoutPolicy: SignLayoutPolicy = .memory
    ) throws -> PackedModel {
        try PackedModel(
            directory: directory,
            options: LoadOptions(
                threads: threads, inputPrecision: inputPrecision, headPrecision: headPrecision,
                instructionSet: instructionSet, layoutPolicy: layoutPolicy))
    }

    /// Random token ids.
    func tokens(_ count: Int, seed: UInt64 = 5) -> [Int] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in Int.random(in: 0..<configuration.vocabularySize, using: &generator) }
    }

    static func stored(_ floats: [Float], as type: ElementType) -> (bytes: [UInt8], values: [Float]) {
        switch type {
        case .float16:
            let halves = floats.map { Float16($0) }
            return (halves.withUnsafeBytes(Array.init), halves.map { Float($0) })
        case .bfloat16:
            let words = floats.map { UInt16($0.bitPattern >> 16) }
            return (words.withUnsafeBytes(Array.init), words.map { Float(bitPattern: UInt32($0) << 16) })
        default: return (floats.withUnsafeBytes(Array.init), floats)
        }
    }
}
