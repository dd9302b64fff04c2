/// The element types of a GGUF file's tensors, by the numbers that they have there: ggml's, whose `Q4_0` is `q40` here.
///
/// Quantized types store a row in blocks: so many weights in so many bytes. A row is a whole number of blocks.
public enum GGUFTensorType: UInt32, Sendable, Hashable, CaseIterable {
    case f32 = 0
    case f16 = 1
    case q40 = 2
    case q41 = 3
    case q50 = 6
    case q51 = 7
    case q80 = 8
    case q2K = 10
    case q3K = 11
    case q4K = 12
    case q5K = 13
    case q6K = 14
    case bf16 = 30
    case tq10 = 34
    case tq20 = 35
    case q10 = 41

    /// The name that users know, such as `Q4_K`.
    public var name: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .bf16: "BF16"
        case .q10: "Q1_0"
        case .q2K: "Q2_K"
        case .q3K: "Q3_K"
        case .q40: "Q4_0"
        case .q41: "Q4_1"
        case .q4K: "Q4_K"
        case .q50: "Q5_0"
        case .q51: "Q5_1"
        case .q5K: "Q5_K"
        case .q6K: "Q6_K"
        case .q80: "Q8_0"
        case .tq10: "TQ1_0"
        case .tq20: "TQ2_0"
        }
    }

    /// Weights of a block; 1 where every weight stands alone.
    public var blockSize: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q40, .q41, .q50, .q51, .q80: 32
        case .q10: 128
        case .q2K, .q3K, .q4K, .q5K, .q6K, .tq10, .tq20: 256
        }
    }

    /// Bytes of a block.
    public var blockByteCount: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q10, .q40: 18
        case .q41: 20
        case .q50: 22
        case .q51: 24
        case .q80: 34
        case .q2K: 84
        case .q3K: 110
        case .q4K: 144
        case .q5K: 176
        case .q6K: 210
        case .tq10: 54
        case .tq20: 66
        }
    }

    /// The same type in other files; nil for a quantized one.
    public var elementType: ElementType? {
        switch self {
        case .f32: .float32
        case .f16: .float16
        case .bf16: .bfloat16
        default: nil
        }
    }

    /// ggml's other types, which are refused by name.
    static let unsupportedNames: [UInt32: String] = [
        9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
        22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 39: "MXFP4",
        40: "NVFP4",
    ]
}

/// A tensor of a GGUF file: name, type and shape.
public struct GGUFTensorDescription: Sendable, Hashable {
    /// Such as `blk.0.attn_q.weight`.
    public let name: String
    public let type: GGUFTensorType
    /// Extents, slowest first: the other way round than in the file.
    public let shape: [Int]

    /// Describes a tensor. The shape is not validated here.
    public init(name: String, type: GGUFTensorType, shape: [Int]) {
        self.name = name
        self.type = type
        self.shape = shape
    }

    /// Weights of a row.
    var columns: Int { shape.last ?? 1 }
    /// Number of weights.
    var elementCount: Int { shape.reduce(1, *) }

    /// The stored size; nil where the shape is no whole number of blocks a row, or the size does not fit in `Int`.
    var checkedByteCount: Int? {
        guard columns >= 0, columns % type.blockSize == 0 else { return nil }
        // The weights have to be countable too, in 32 bits each: they are made of the blocks.
        var elements = MemoryLayout<Float>.size
        for extent in shape {
            guard extent >= 0 else { return nil }
            let (product, overflow) = elements.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            elements = product
        }
        let blocks = elements / MemoryLayout<Float>.size / type.blockSize
        let (bytes, overflow) = blocks.multipliedReportingOverflow(by: type.blockByteCount)
        return overflow ? nil : bytes
    }
}
