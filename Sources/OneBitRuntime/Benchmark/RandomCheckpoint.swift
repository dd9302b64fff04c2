import Foundation
import LanguageModel
import ModelDescription
import TensorFiles

/// A packed checkpoint of random weights, to measure a shape's speed without its files.
package enum RandomCheckpoint {
    /// Bytes that ``write(_:to:seed:)`` writes, nearly all of them weights.
    package static func byteCount(_ configuration: ModelConfiguration) -> Int {
        plan(configuration).reduce(0) { $0 + $1.byteCount }
    }

    /// Writes random signs, and values of the size that keeps activations in range: float16 as a released model has. The
    /// directory has to exist.
    ///
    /// - Throws: `CheckpointWriterError`, `FileError`, `CancellationError`.
    package static func write(_ configuration: ModelConfiguration, to directory: URL, seed: UInt64 = 0) throws {
        let quantization = QuantizationConfiguration(
            checkpointFormat: .packed, postLayerNorm: false, valueType: .float16)
        try configuration.jsonData(quantization: quantization).write(to: directory.appending(path: "config.json"))
        let writer = try CheckpointWriter(directory: directory, tensors: plan(configuration))
        var generator = SeededGenerator(seed: seed)
        var inputs: [String: Int] = [:]
        for linear in configuration.linears { inputs[linear.inputScaleName] = linear.inputs }
        for tensor in plan(configuration) {
            try Task.checkCancellation()
            let halves: [Float16]
            if tensor.elementType == .int8 {
                try randomWords(tensor.byteCount, &generator).withUnsafeBytes {
                    try writer.write(tensor.name, bytes: UnsafeRawBufferPointer(rebasing: $0[..<tensor.byteCount]))
                }
                continue
            } else if let inputs = inputs[tensor.name] {
                // A sum of n random signs has the magnitude √n.
                halves = [Float16](repeating: Float16(1 / Float(inputs).squareRoot()), count: tensor.elementCount)
            } else if tensor.shape.count == 2 {
                halves = try randomHalves(tensor.elementCount, &generator)
            } else {
                halves = [Float16](repeating: 1, count: tensor.elementCount)
            }
            try halves.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
        }
        try writer.finish()
    }

    private static func plan(_ configuration: ModelConfiguration) -> [TensorDescription] {
        configuration.tensorPlan(kind: .packed, weightType: .int8, valueType: .float16) { _ in .float16 }
    }

    private static func randomWords(_ bytes: Int, _ generator: inout SeededGenerator) -> [UInt64] {
        (0..<(bytes + 7) / 8).map { _ in generator.next() }
    }

    /// Between −1/16 and 1/16: sign and fraction at random under one exponent.
    private static func randomHalves(_ count: Int, _ generator: inout SeededGenerator) throws -> [Float16] {
        try [Float16](unsafeUninitializedCapacity: count) { values, initialized in
            for index in 0..<count {
                // An embedding takes seconds.
                if index % (1 << 20) == 0 { try Task.checkCancellation() }
                let bits = UInt16(truncatingIfNeeded: generator.next())
                values[index] = Float16(bitPattern: bits & 0x83FF | 0x2800)
            }
            initialized = count
        }
    }
}
