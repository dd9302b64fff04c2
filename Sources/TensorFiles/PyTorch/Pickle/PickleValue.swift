/// A value of a pickle.
///
/// Containers are places in a ``PickleHeap``: a pickle shares and nests them as it likes, to any depth and in circles, and
/// values that held each other would follow it there.
enum PickleValue: Equatable {
    case none
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case text(String)
    case global(PickleGlobal)
    case tuple(Int)
    case list(Int)
    case dictionary(Int)
    case storage(Int)
    case tensor(Int)

    /// What it is, for messages.
    var summary: String {
        switch self {
        case .none: "None"
        case .boolean(let value): value ? "True" : "False"
        case .integer(let value): "the integer \(value)"
        case .number(let value): "the number \(value)"
        case .text: "a text"
        case .global(let global): "\(global)"
        case .tuple: "a tuple"
        case .list: "a list"
        case .dictionary: "a dictionary"
        case .storage: "a storage"
        case .tensor: "a tensor"
        }
    }
}

/// The containers of a pickle, by the places that its values name.
struct PickleHeap {
    var tuples: [[PickleValue]] = []
    var lists: [[PickleValue]] = []
    /// Keys and values as they were set, in order; a key may come twice.
    var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
    var storages: [PickledStorage] = []
    var tensors: [PickledTensor] = []

    /// How many containers there are.
    var count: Int { tuples.count + lists.count + dictionaries.count + storages.count + tensors.count }
}

/// A run of elements that tensors are views of: an entry `data/<key>` of the archive.
struct PickledStorage {
    let type: StorageType
    let key: String
    let elementCount: Int
}

/// A view of a storage, as stated. Nothing of it is judged yet: that needs the tensor's name, which comes later.
struct PickledTensor {
    let storage: PickledStorage
    /// In elements.
    let offset: Int
    let shape: [Int]
    /// In elements.
    let strides: [Int]
}
