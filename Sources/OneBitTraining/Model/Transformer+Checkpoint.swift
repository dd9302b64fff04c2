import Foundation
import ModelDescription
import TensorFiles
import Torch

extension Transformer {
    /// Reads a dense model or a float student.
    ///
    /// - Parameters:
    ///   - checkpoint: Not a packed one.
    ///   - signGradient: How a student's gradient passes through sign; immaterial for a teacher and for evaluation.
    ///   - execution: Device and precision.
    /// - Throws: `CheckpointError` for a packed checkpoint, `CancellationError`, and what reading throws.
    public convenience init(
        checkpoint: Checkpoint, signGradient: SignGradient = .hard, execution: Execution = Execution()
    ) throws {
        var oneBit: OneBitSettings?
        if checkpoint.kind != .dense {
            try checkpoint.require(.floatStudent)
            oneBit = OneBitSettings(
                layerNormEpsilon: checkpoint.configuration.quantization.flatMap {
                    $0.postLayerNorm ? $0.layerNormEpsilon : nil
                },
                signGradient: signGradient)
        }
        try self.init(configuration: checkpoint.configuration, oneBit: oneBit) { name in
            try checkCancellation()
            return try .floats(
                try checkpoint.floats(of: name), shape: try checkpoint.description(of: name).shape,
                dtype: execution.precision.dtype, device: execution.device)
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
            try checkCancellation()
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
