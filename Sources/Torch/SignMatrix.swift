import CLibTorch

/// A matrix of ±1 at one bit per weight: all that a pass through a OneBit layer needs of its latent matrix.
public final class SignMatrix: @unchecked Sendable {
    // Proof of Sendable: the handle never changes, and no function that takes it changes what it holds.
    private let handle: OpaquePointer
    public let rows: Int
    public let columns: Int

    private init(adopting handle: OpaquePointer, rows: Int, columns: Int) {
        self.handle = handle
        self.rows = rows
        self.columns = columns
    }

    deinit { lt_signs_release(handle) }

    /// The signs of a matrix [rows, columns]; that of zero is +1.
    public convenience init(signsOf latent: Tensor) throws {
        let shape = latent.shape
        guard let handle = Tensor.withHandles([latent], { lt_signs_of($0[0]) }) else {
            throw TorchError.last(in: "the signs of a matrix")
        }
        self.init(adopting: handle, rows: shape[0], columns: shape[1])
    }

    /// From bits [rows, ⌈columns / 8⌉] of type `uint8`, as ``bits`` has them.
    public convenience init(bits: Tensor, columns: Int) throws {
        let rows = bits.shape.first ?? 0
        guard let handle = Tensor.withHandles([bits], { lt_signs_from_bits($0[0], Int64(columns)) }) else {
            throw TorchError.last(in: "a matrix of signs")
        }
        self.init(adopting: handle, rows: rows, columns: columns)
    }

    /// `uint8` [rows, ⌈columns / 8⌉], the order of packed checkpoints: bit j of byte k of a row is column 8k + j, and 1
    /// means −1. Bits behind the last column are 0.
    public var bits: Tensor {
        get throws { try .compute("the bits of a matrix of signs") { _ in lt_signs_bits(handle) } }
    }

    /// ±1 [rows, columns].
    public func unpacked(_ dtype: DType = .float32) throws -> Tensor {
        try .compute("the numbers of a matrix of signs") { _ in lt_signs_unpacked(handle, dtype.bridged) }
    }

    /// How many signs differ from those of another matrix of the same shape.
    public func turned(from other: SignMatrix) throws -> Int {
        var count: Int64 = 0
        try other.withHandle { try check(lt_signs_turned($0, handle, &count), "a comparison of signs") }
        return Int(count)
    }

    func withHandle<Result>(_ body: (OpaquePointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(self) { try body(handle) }
    }
}

/// How products with sign matrices are computed.
public enum SignProducts: String, Sendable, CaseIterable {
    /// By look-ups where that is faster: in float32, on a CPU with vector instructions for it, for matrices that are large
    /// enough. Inputs are rounded to 16 bits, which changes an output by about 1e-5 of the largest.
    case fastest
    /// As products of floats.
    case float

    var bridged: lt_sign_products {
        switch self {
        case .fastest: LT_PRODUCTS_FASTEST
        case .float: LT_PRODUCTS_FLOAT
        }
    }
}

extension Tensor {
    /// The OneBit layer (paper eq. 3): Y = ((X ⊙ g) signs(W)ᵀ) ⊙ h, then LayerNorm where `layerNormEpsilon` is given.
    ///
    /// - Parameters:
    ///   - signs: Of W [out, in].
    ///   - inputScale: g [in], float32.
    ///   - outputScale: h [out], float32.
    ///   - product: A ``gradientCarrier(shape:dtype:device:)`` of shape [out, in]: its gradient is P = dYᵀ X, of which
    ///     dW = P ⊙ (h gᵀ) ⊙ sign′(W) is made once a step. Nil where W is not trained.
    ///   - layerNormEpsilon: ε of the LayerNorm; nil leaves it out.
    ///   - products: How the products with the signs are computed.
    public func signLinear(
        _ signs: SignMatrix, inputScale: Tensor, outputScale: Tensor, product: Tensor? = nil, layerNormEpsilon: Float?,
        products: SignProducts = .fastest
    ) throws -> Tensor {
        try .compute("a OneBit layer", self, inputScale, outputScale, product) { handles in
            signs.withHandle {
                lt_sign_linear(
                    handles[0], $0, handles[1], handles[2], handles[3], layerNormEpsilon.map(Double.init) ?? -1,
                    products.bridged)
            }
        }
    }
}
