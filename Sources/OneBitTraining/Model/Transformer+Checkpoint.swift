import Foundation
import ModelDescription
import TensorFiles

extension Transformer {
    /// Reads a dense model or a float student.
    ///
    /// - Parameters:
    ///   - checkpoint: Not a packed one.
    ///   - signGradient: How a student's gradient passes through sign; immaterial for a teacher and for evaluation.
    /// - Throws: `CheckpointError` for a packed checkpoint, and what reading throws.
    public convenience init(checkpoint: Checkpoint, signGradient: SignGradient = .hard) throws {
        var linears = LinearForm.dense
        if checkpoint.kind != .dense {
            try checkpoint.require(.floatStudent)
            linears = .oneBit(
                layerNormEpsilon: checkpoint.configuration.quantization.flatMap {
                    $0.postLayerNorm ? $0.layerNormEpsilon : nil
                },
                signGradient: signGradient
            )
        }
        try self.init(configuration: checkpoint.configuration, linears: linears) { name in
            let shape = try checkpoint.description(of: name).shape
            return try Tensor(try checkpoint.floats(of: name), shape: shape)
        }
    }

    /// Streams the parameters into `directory`.
    ///
    /// - Parameter packsLossless: Whether to round all but the latent matrices to float16, which is what a packed model
    ///   stores: the float student and its packed form then are the same model.
    func write(to directory: URL, elementType: ElementType, packsLossless: Bool = false) throws {
        let writer = try CheckpointWriter(
            directory: directory,
            tensors: parameters.map {
                TensorDescription(name: $0.name, elementType: elementType, shape: $0.tensor.shape)
            }
        )
        for parameter in parameters {
            var floats = try parameter.tensor.floats()
            if packsLossless, parameter.group != .latent { floats = floats.map(roundedToHalf) }
            try writer.write(parameter.name, floats: floats)
        }
        try writer.finish()
    }
}

/// The nearest float16, or the number itself where float16 does not reach: packing then names it.
private func roundedToHalf(_ value: Float) -> Float {
    let half = Float(Float16(value))
    return half.isFinite ? half : value
}

/// One line per step, without times: the same run gives the same bytes.
func writeTrainingLog(_ events: [TrainingEvent], to directory: URL) throws {
    var log = Data()
    for event in events {
        log.append(try JSONEncoder.sorted.encode(event))
        log.append(UInt8(ascii: "\n"))
    }
    try writeAtomically(log, to: directory.appending(path: "training_log.jsonl"))
}
