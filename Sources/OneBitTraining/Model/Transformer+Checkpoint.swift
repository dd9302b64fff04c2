import Foundation
import ModelDescription
import TensorFiles
import Torch

extension Transformer {
    /// Reads a dense model or a float student, of whose latent matrices the signs are kept.
    ///
    /// - Parameters:
    ///   - checkpoint: Not a packed one.
    ///   - computeType: Type of the activations.
    ///   - keepsFileTypes: Whether parameters stay in the file's types instead of float32.
    ///   - signProducts: How a student's products with signs are computed.
    ///   - device: Where to compute.
    ///   - streamsBlocks: Whether the matrices of the blocks stay in host memory and come to the device as a pass reaches
    ///     them.
    /// - Throws: `CheckpointError` for a packed checkpoint, `CancellationError`, and what reading throws.
    public convenience init(
        checkpoint: Checkpoint, computeType: DType = .float32, keepsFileTypes: Bool = false,
        signProducts: SignProducts = .fastest, device: Device = .cpu, streamsBlocks: Bool = false
    ) throws {
        var oneBit: OneBitSettings?
        if checkpoint.kind != .dense {
            try checkpoint.require(.floatStudent)
            try checkpoint.requireSharedInputScales()
            oneBit = OneBitSettings(
                layerNormEpsilon: checkpoint.configuration.quantization.flatMap {
                    $0.postLayerNorm ? $0.layerNormEpsilon : nil
                }, products: signProducts)
        }
        try self.init(
            configuration: checkpoint.configuration, oneBit: oneBit, computeType: computeType, device: device,
            streamsBlocks: streamsBlocks
        ) { name, group in
            try checkCancellation()
            let tensor = try checkpoint.tensor(name)
            if group == .latent {
                return .signs(try SignMatrix(signsOf: tensor.converted(to: .float32, device: device)))
            }
            let type = keepsFileTypes ? tensor.dtype : .float32
            if streamsBlocks, group == .dense {
                return .tensor(try tensor.converted(to: type, device: .cpu).pinned())
            }
            return .tensor(try tensor.converted(to: type, device: device))
        }
    }

    /// Streams the parameters into `directory`.
    ///
    /// - Parameters:
    ///   - packsLossless: Whether to round all but the latent matrices to float16, which is what a packed model stores: the
    ///     float student and its packed form then are the same model.
    ///   - values: Gives a parameter's numbers by its place; the model's own where nil, ±1 for a latent matrix.
    func write(
        to directory: URL, elementType: ElementType, packsLossless: Bool = false,
        values: ((Int) throws -> Tensor)? = nil
    ) throws {
        let writer = try CheckpointWriter(
            directory: directory,
            tensors: parameters.map { TensorDescription(name: $0.name, elementType: elementType, shape: $0.shape) }
        )
        for (place, parameter) in parameters.enumerated() {
            try checkCancellation()
            var floats = try (values?(place) ?? parameter.value.numbers()).floats()
            if packsLossless, parameter.group != .latent { floats = floats.map(roundedToHalf) }
            try writer.write(parameter.name, floats: floats)
        }
        try writer.finish()
    }
}

extension Checkpoint {
    /// A float tensor in the file's type.
    ///
    /// - Throws: `TensorFileError` where it is not of floats, or some are NaN or infinite.
    func tensor(_ name: String) throws -> Tensor {
        let description = try description(of: name)
        let dtype: DType
        switch description.elementType {
        case .float32: dtype = .float32
        case .float16: dtype = .float16
        case .bfloat16: dtype = .bfloat16
        default: return try .floats(floats(of: name), shape: description.shape)
        }
        let tensor = try withUnsafeBytes(of: name) { try Tensor.elements($0, shape: description.shape, dtype: dtype) }
        try releasePages(of: name)
        // Reading them as floats names the first that is not a finite number.
        if try !tensor.isFinite() { return try .floats(floats(of: name), shape: description.shape) }
        return tensor
    }
}

/// The nearest float16, or the number itself where float16 does not reach: packing then names it.
private func roundedToHalf(_ value: Float) -> Float {
    let half = Float(Float16(value))
    return half.isFinite ? half : value
}
