/// The Python functions and classes that a state dictionary is made of. There are no others: a pickle that names one
/// is refused, and none is ever called; the reader does itself what these stand for.
enum PickleGlobal: Equatable, CustomStringConvertible {
    /// `collections.OrderedDict()`: an empty dictionary.
    case orderedDictionary
    /// `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])`.
    case rebuildTensor
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`: the tensor.
    case rebuildParameter
    /// `torch.FloatStorage` and so on: the element type of a storage.
    case storage(StorageType)

    /// The global of a name; nil when it is none of these.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch", _):
            guard let type = StorageType(rawValue: name) else { return nil }
            self = .storage(type)
        default: return nil
        }
    }

    var description: String {
        switch self {
        case .orderedDictionary: "collections.OrderedDict"
        case .rebuildTensor: "torch._utils._rebuild_tensor_v2"
        case .rebuildParameter: "torch._utils._rebuild_parameter"
        case .storage(let type): "torch.\(type.rawValue)"
        }
    }
}

/// PyTorch's storage classes, which give a tensor its element type.
enum StorageType: String, CaseIterable {
    case float = "FloatStorage"
    case half = "HalfStorage"
    case bfloat16 = "BFloat16Storage"
    case char = "CharStorage"
    case byte = "ByteStorage"
    case int = "IntStorage"
    case long = "LongStorage"
    case double = "DoubleStorage"
    case short = "ShortStorage"
    case bool = "BoolStorage"

    /// Nil for those that no language-model checkpoint uses.
    var elementType: ElementType? {
        switch self {
        case .float: .float32
        case .half: .float16
        case .bfloat16: .bfloat16
        case .char: .int8
        case .byte: .uint8
        case .int: .int32
        case .long: .int64
        case .double, .short, .bool: nil
        }
    }

    static var supported: [String] { allCases.filter { $0.elementType != nil }.map(\.rawValue) }
}
