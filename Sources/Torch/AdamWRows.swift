import CLibTorch

/// How the values of a parameter are kept between steps; a step computes in float32.
public enum ValueStorage: String, Sendable, Hashable, Codable, CaseIterable {
    case float32
    /// Rounded up or down at random after each step, so that the mean is right: rates far below bfloat16's precision of 0.4 %
    /// of a weight still move it.
    case bfloat16

    public var dtype: DType { self == .float32 ? .float32 : .bfloat16 }
}

/// How AdamW's moments are kept between steps.
public enum MomentStorage: String, Sendable, Hashable, Codable, CaseIterable {
    case float32
    /// With stochastic rounding.
    case bfloat16
    /// 8 bits on a logarithmic scale relative to the largest magnitude of 256 elements, with stochastic rounding.
    case blocks

    public var dtype: DType {
        switch self {
        case .float32: .float32
        case .bfloat16: .bfloat16
        case .blocks: .uint8
        }
    }

    /// Elements that share a scale.
    public static let blockSize = Int(LT_MOMENT_BLOCK)
}

/// By what P = dYᵀX of latent weights W becomes their gradient: dW = P ⊙ (h gᵀ) ⊙ sign′(W).
public struct LatentScales: Sendable {
    /// h of the rows at hand.
    public var outputScale: Tensor
    /// g of all columns.
    public var inputScale: Tensor
    public var signGradient: SignGradient

    public init(outputScale: Tensor, inputScale: Tensor, signGradient: SignGradient) {
        self.outputScale = outputScale
        self.inputScale = inputScale
        self.signGradient = signGradient
    }
}

/// What decides one AdamW step besides the gradient.
public struct AdamWSettings: Sendable {
    /// t, counted from 1.
    public var step: Int
    /// η.
    public var learningRate: Double
    public var beta1, beta2, epsilon: Double
    /// λ.
    public var weightDecay: Double
    /// What clipping leaves of the gradient.
    public var gradientFactor: Double
    /// Of the rounding.
    public var seed: UInt64

    public init(
        step: Int, learningRate: Double, beta1: Double, beta2: Double, epsilon: Double, weightDecay: Double,
        gradientFactor: Double, seed: UInt64
    ) {
        self.step = step
        self.learningRate = learningRate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.gradientFactor = gradientFactor
        self.seed = seed
    }
}

/// A number that a device may still be computing.
public struct DeviceNumber: Sendable {
    private let tensor: Tensor

    fileprivate init(_ tensor: Tensor) { self.tensor = tensor }

    /// Waits for it.
    public func value() throws -> Double { try Self.values([self])[0] }

    /// Waits once for several of one device.
    public static func values(_ numbers: [DeviceNumber]) throws -> [Double] {
        var values = [Double](repeating: 0, count: numbers.count)
        try Tensor.withHandles(numbers.map(\.tensor)) { handles in
            try check(lt_read_numbers(handles, Int32(handles.count), &values), "numbers of a device")
        }
        return values
    }
}

/// Some rows of a parameter with AdamW's moments, in storage that each step writes in place.
///
/// Not `Sendable`: one thread at a time steps and reads.
public final class AdamWRows {
    public let rows, columns: Int
    private let value, firstMoment, secondMoment: TensorBuffer
    private let firstScale, secondScale: TensorBuffer?
    /// Packed signs of the values, [rows, ⌈columns / 8⌉]; nil unless asked for.
    private let signBits: TensorBuffer?

    /// Whether a step is made of libtorch's operations.
    private let stepsByOperations: Bool

    /// - Parameters:
    ///   - initial: [rows, columns]; moments and signs lie on its device.
    ///   - value: How the values are kept between steps.
    ///   - moments: How the moments are kept between steps.
    ///   - keepsSigns: Whether steps pack the signs of the new values.
    ///   - stepsByOperations: Whether a step is made of libtorch's operations even where there are loops or kernels for it.
    public init(
        _ initial: Tensor, value: ValueStorage = .float32, moments: MomentStorage = .float32, keepsSigns: Bool = false,
        stepsByOperations: Bool = false
    ) throws {
        let (shape, device) = (initial.shape, initial.device)
        precondition(shape.count == 2, "rows of a matrix, not \(shape)")
        (rows, columns) = (shape[0], shape[1])
        self.stepsByOperations = stepsByOperations
        self.value = try TensorBuffer(copying: initial, dtype: value.dtype)
        firstMoment = try TensorBuffer(shape, dtype: moments.dtype, device: device)
        secondMoment = try TensorBuffer(shape, dtype: moments.dtype, device: device)
        let scales = [rows, (columns + MomentStorage.blockSize - 1) / MomentStorage.blockSize]
        firstScale = moments == .blocks ? try TensorBuffer(scales, device: device) : nil
        secondScale = moments == .blocks ? try TensorBuffer(scales, device: device) : nil
        signBits = keepsSigns ? try TensorBuffer([rows, (columns + 7) / 8], dtype: .uint8, device: device) : nil
        try packSigns()
    }

    /// The values as they are stored; shows later steps.
    public var values: Tensor { value.tensor }

    /// The packed signs of the values; shows later steps.
    public var signs: Tensor? { signBits?.tensor }

    /// Everything that a resumption needs, as it is stored, by name; shows later steps.
    public var state: [(name: String, tensor: Tensor)] {
        [
            ("value", value), ("first_moment", firstMoment), ("second_moment", secondMoment),
            ("first_moment_scale", firstScale), ("second_moment_scale", secondScale),
        ].compactMap { name, buffer in buffer.map { (name, $0.tensor) } }
    }

    /// Bytes of it.
    public var byteCount: Int { state.reduce(0) { $0 + $1.tensor.elementCount * $1.tensor.dtype.byteWidth } }

    /// Shape of a tensor of ``state``.
    public func shape(of name: String) -> [Int] { buffer(name).shape }

    /// Puts back a tensor of ``state`` that an earlier run kept.
    public func restore(_ name: String, _ tensor: Tensor) throws {
        try buffer(name).write(tensor)
        if name == "value" { try packSigns() }
    }

    private func buffer(_ name: String) -> TensorBuffer {
        let buffers = [
            "value": value, "first_moment": firstMoment, "second_moment": secondMoment,
            "first_moment_scale": firstScale, "second_moment_scale": secondScale,
        ]
        guard let buffer = buffers[name] ?? nil else { preconditionFailure("no state \(name)") }
        return buffer
    }

    private func packSigns() throws {
        guard let signBits, rows > 0 else { return }
        try signBits.write(SignMatrix(signsOf: value.tensor).bits)
    }

    /// Σ of the squares of the gradient's elements.
    ///
    /// - Parameters:
    ///   - gradient: Of these rows; P where `latent` is given.
    ///   - latent: Of latent weights.
    public func squareSum(of gradient: Tensor, latent: LatentScales? = nil) throws -> DeviceNumber {
        try withRows(gradient, latent) { rows, gradient, latent, _ in
            DeviceNumber(
                try .compute("the norm of the gradients") { _ in lt_gradient_square_sum(rows, gradient, latent) })
        }
    }

    /// One step (Loshchilov & Hutter 2019), with d the gradient times what clipping leaves of it:
    ///
    ///     m ← β₁ m + (1 − β₁) d,  v ← β₂ v + (1 − β₂) d²
    ///     w ← w − η (λ w + m̂ / (√v̂ + ε)),  m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)
    ///
    /// - Parameters:
    ///   - gradient: As in ``squareSum(of:latent:)``.
    ///   - latent: Of a latent matrix, what turns P into its gradient.
    ///   - settings: Of the step.
    ///   - firstElement: Position of the first element within the whole parameter: what the rounding depends on.
    /// - Returns: How many weights changed their sign; 0 where signs are not kept.
    @discardableResult
    public func step(
        gradient: Tensor, latent: LatentScales? = nil, settings: AdamWSettings, firstElement: Int
    ) throws -> DeviceNumber {
        let bridged = lt_adamw_settings(
            step: Int64(settings.step), learning_rate: settings.learningRate, beta1: settings.beta1,
            beta2: settings.beta2, epsilon: settings.epsilon, weight_decay: settings.weightDecay,
            gradient_factor: settings.gradientFactor)
        return try withRows(gradient, latent) { rows, gradient, latent, signs in
            DeviceNumber(
                try .compute("an AdamW step") { _ in
                    lt_adamw_step(rows, gradient, latent, bridged, settings.seed, Int64(firstElement), signs)
                })
        }
    }

    private func withRows(
        _ gradient: Tensor, _ latent: LatentScales?,
        _ body: (lt_adamw_rows, OpaquePointer?, UnsafePointer<lt_latent_scales>?, OpaquePointer?) throws
            -> DeviceNumber
    ) throws -> DeviceNumber {
        let tensors = [
            value.tensor, firstMoment.tensor, secondMoment.tensor, firstScale?.tensor, secondScale?.tensor,
            signBits?.tensor, gradient, latent?.outputScale, latent?.inputScale,
        ]
        return try Tensor.withHandles(tensors) { handles in
            let rows = lt_adamw_rows(
                value: handles[0], first_moment: handles[1], second_moment: handles[2], first_scale: handles[3],
                second_scale: handles[4], by_operations: stepsByOperations)
            guard let latent else { return try body(rows, handles[6], nil, handles[5]) }
            var scales = lt_latent_scales(
                output_scale: handles[7], input_scale: handles[8], sign_gradient: latent.signGradient.bridged)
            return try body(rows, handles[6], &scales, handles[5])
        }
    }
}
