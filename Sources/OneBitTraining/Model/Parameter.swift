import Torch

/// What a parameter is for; configurations choose by it what is trained and how fast.
public enum ParameterGroup: String, Sendable, Codable, CaseIterable, CodingKeyRepresentable {
    /// Matrix of a dense linear layer.
    case dense
    /// The float matrix W whose signs a OneBit layer uses.
    case latent
    /// The value vectors g and h of a OneBit layer.
    case scales
    /// Embeddings, output head, and the projections between them and the residual stream.
    case embedding
    /// Weights of the norms, and biases.
    case norm
}

/// What passes compute with in place of a parameter.
public enum ParameterValue: Sendable {
    case tensor(Tensor)
    /// Of a latent matrix: all that a pass needs of it.
    case signs(SignMatrix)

    var shape: [Int] {
        switch self {
        case .tensor(let tensor): tensor.shape
        case .signs(let signs): [signs.rows, signs.columns]
        }
    }

    /// The signs of a matrix.
    var signs: SignMatrix {
        get throws {
            switch self {
            case .tensor(let tensor): try SignMatrix(signsOf: tensor)
            case .signs(let signs): signs
            }
        }
    }

    /// As float32: of signs, ±1.
    func numbers() throws -> Tensor {
        switch self {
        case .tensor(let tensor): try tensor.converted(to: .float32)
        case .signs(let signs): try signs.unpacked()
        }
    }

    /// A leaf of the backward pass: of signs, one whose gradient is P = dYᵀ X.
    func leaf(productType: DType) throws -> Tensor {
        switch self {
        case .tensor(let tensor): try tensor.requiringGradient()
        case .signs(let signs):
            try .gradientCarrier(shape: [signs.rows, signs.columns], dtype: productType, device: signs.bits.device)
        }
    }
}

/// A parameter of a model under its checkpoint name.
public struct Parameter: Sendable {
    public let name: String
    public let shape: [Int]
    public let value: ParameterValue
    public let group: ParameterGroup

    init(name: String, value: ParameterValue, group: ParameterGroup) {
        self.name = name
        shape = value.shape
        self.value = value
        self.group = group
    }

    var elementCount: Int { shape.reduce(1, *) }

    /// Weight decay shrinks matrices only: norm weights, biases and the value vectors g and h set scales, and a pull
    /// toward zero is not a prior for these (the practice of GPT-2, LLaMA and their PyTorch implementations).
    var isDecayed: Bool { shape.count > 1 }
}
