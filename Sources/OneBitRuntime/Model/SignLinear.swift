import CSignKernels
import ModelFiles

/// A linear layer at one bit per weight (paper §3.1, eq. 3):
///
///     Y = ((X ⊙ g) Sᵀ) ⊙ h        S ∈ {±1}, g per input, h per output
///     Z = (Y − mean Y) / √(var Y + ε)      where the model was trained with it
///
/// X ⊙ g is quantised per token to integers q ≈ (X ⊙ g) / s, so that q Sᵀ is exact and Y = q Sᵀ · s ⊙ h.
struct SignLinear: Sendable {
    let inputs: Int
    let outputs: Int
    private let bytesPerRow: Int
    /// S, `X.weight`: where the file is mapped.
    private let signs: MappedTensor
    /// g, `X.input_factor`.
    private let inputScale: [Float]
    /// h, `X.weight_scale`.
    private let outputScale: [Float]
    /// ε of the LayerNorm, nil without one.
    private let layerNormEpsilon: Float?

    /// - Throws: ``RuntimeError/layerTooWide(directory:tensor:inputs:maximum:)``, and `CheckpointError` when a scale
    ///   is NaN or infinite.
    init(_ linear: LinearDescription, of checkpoint: Checkpoint, layerNormEpsilon: Float?) throws {
        guard linear.inputs <= Int(SIGN_KERNELS_MAXIMUM_COLUMNS) else {
            throw RuntimeError.layerTooWide(
                directory: checkpoint.directory.path,
                tensor: linear.weightName,
                inputs: linear.inputs,
                maximum: Int(SIGN_KERNELS_MAXIMUM_COLUMNS)
            )
        }
        inputs = linear.inputs
        outputs = linear.outputs
        bytesPerRow = linear.packedBytesPerRow
        signs = try checkpoint.mapped(linear.weightName)
        inputScale = try checkpoint.floats(of: linear.inputScaleName)
        outputScale = try checkpoint.floats(of: linear.outputScaleName)
        self.layerNormEpsilon = layerNormEpsilon
    }

    /// x: [tokens, inputs], y: [tokens, outputs].
    func callAsFunction(
        _ x: UnsafePointer<Float>,
        tokens: Int,
        into y: UnsafeMutablePointer<Float>,
        scratch: Scratch,
        execution: Execution
    ) {
        switch execution.inputPrecision {
        case .bits16:
            let kernels = execution.instructionSet.kernels.pointee
            forward(
                x,
                tokens,
                y,
                scratch,
                execution,
                quantize: kernels.quantize_int16,
                product: kernels.sign_product_int16
            )
        case .bits8:
            let kernels = execution.instructionSet.kernels.pointee
            forward(
                x,
                tokens,
                y,
                scratch,
                execution,
                quantize: kernels.quantize_int8,
                product: kernels.sign_product_int8
            )
        }
    }

    private typealias Quantize<Integer> = @convention(c) (
        UnsafePointer<Float>, UnsafePointer<Float>, Int, UnsafeMutablePointer<Integer>, Int
    ) -> Float
    private typealias Product<Integer> = @convention(c) (
        sign_kernels_matrix, Int, Int, UnsafePointer<Integer>, Int, Int, UnsafeMutablePointer<Int32>, Int
    ) -> Void

    private func forward<Integer>(
        _ x: UnsafePointer<Float>,
        _ tokens: Int,
        _ y: UnsafeMutablePointer<Float>,
        _ scratch: Scratch,
        _ execution: Execution,
        quantize: Quantize<Integer>,
        product: Product<Integer>
    ) {
        let kernels = execution.instructionSet.kernels.pointee
        let matrix = sign_kernels_matrix(
            bits: signs.bytes.baseAddress!.assumingMemoryBound(to: UInt8.self),
            bytes_per_row: bytesPerRow,
            columns: inputs
        )
        let stride = Scratch.stride(inputs: inputs)
        let scales = scratch.scales.pointer
        let sums = scratch.sums.pointer
        let integers = UnsafeMutableRawPointer(scratch.quantized.pointer).assumingMemoryBound(to: Integer.self)

        // q, s of every token
        inputScale.withUnsafeBufferPointer { g in
            execution.pool.run(count: tokens, operations: inputs) { range, _ in
                for t in range {
                    scales[t] = quantize(x + t * inputs, g.baseAddress!, inputs, integers + t * stride, stride)
                }
            }
        }
        // Y = q Sᵀ · s ⊙ h. A sign product counts one operation per 8 weights.
        outputScale.withUnsafeBufferPointer { h in
            execution.pool.run(count: outputs, operations: (inputs / 8 + 1) * tokens) { rows, _ in
                product(matrix, rows.lowerBound, rows.upperBound, integers, stride, tokens, sums, outputs)
                for t in 0..<tokens {
                    let first = t * outputs + rows.lowerBound
                    kernels.dequantize(
                        sums + first,
                        scales[t],
                        h.baseAddress! + rows.lowerBound,
                        rows.count,
                        y + first
                    )
                }
            }
        }
        // Z = LayerNorm(Y)
        guard let layerNormEpsilon else { return }
        execution.pool.run(count: tokens, operations: outputs) { range, _ in
            for t in range { kernels.layer_norm(y + t * outputs, outputs, layerNormEpsilon, y + t * outputs) }
        }
    }

    /// Integers in and out of a sign product, of the widest layer.
    final class Scratch {
        /// q, int16 or int8: [tokens, stride(inputs)]
        let quantized: Buffer<Int16>
        /// s: [tokens]
        let scales: Buffer<Float>
        /// q Sᵀ: [tokens, outputs]
        let sums: Buffer<Int32>

        init(tokens: Int, inputs: Int, outputs: Int) {
            quantized = Buffer(count: tokens * Self.stride(inputs: inputs))
            scales = Buffer(count: tokens)
            sums = Buffer(count: tokens * outputs)
        }

        /// Inputs rounded up to the kernels' padding.
        static func stride(inputs: Int) -> Int {
            let padding = Int(SIGN_KERNELS_INPUT_PADDING)
            return (inputs + padding - 1) / padding * padding
        }
    }
}
