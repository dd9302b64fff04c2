/// Name, element type and shape of one stored tensor.
///
/// Counts are checked where a description is read from a file or planned for one, so `elementCount` and `byteCount`
/// of a description that this module hands out never overflow.
public struct TensorDescription: Sendable, Hashable {
    /// The tensor's key in the checkpoint, e.g. `model.layers.0.self_attn.q_proj.weight`.
    public let name: String
    /// How an element is stored.
    public let elementType: ElementType
    /// Extents, slowest first; empty for a scalar.
    public let shape: [Int]

    /// Describes a tensor. The shape is not judged here.
    public init(name: String, elementType: ElementType, shape: [Int]) {
        self.name = name
        self.elementType = elementType
        self.shape = shape
    }

    /// Number of elements: the product of the shape, 1 for a scalar.
    public var elementCount: Int { shape.reduce(1, *) }
    /// Stored size in bytes.
    public var byteCount: Int { elementCount * elementType.byteWidth }

    /// The stored size, or nil when an extent is negative or a product does not fit in `Int`.
    var checkedByteCount: Int? {
        var bytes = elementType.byteWidth
        for extent in shape {
            guard extent >= 0 else { return nil }
            let (product, overflow) = bytes.multipliedReportingOverflow(by: extent)
            if overflow { return nil }
            bytes = product
        }
        return bytes
    }
}

/// Name and shape of a tensor that a configuration calls for, whatever its element type.
public struct TensorShape: Sendable, Hashable {
    /// The tensor's key in the checkpoint.
    public let name: String
    /// Extents, slowest first.
    public let shape: [Int]

    /// A named shape.
    public init(name: String, shape: [Int]) {
        self.name = name
        self.shape = shape
    }

    /// Number of elements.
    public var elementCount: Int { shape.reduce(1, *) }
}
