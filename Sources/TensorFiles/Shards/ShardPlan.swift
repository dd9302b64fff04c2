import JSON

/// Where each tensor of one safetensors file goes.
struct ShardPlan {
    let name: String
    /// The eight bytes of length and the JSON, padded with spaces.
    let header: [UInt8]
    /// Offset of each tensor from the start of the file, in plan order.
    let offsets: [(tensor: TensorDescription, offset: Int)]
    /// Length of the whole file.
    let byteCount: Int

    /// Lays out a file. Wider elements come first, so that every tensor starts at a multiple of its element's width:
    /// readers that map the file need no copy. The data start at a multiple of `alignment`.
    init(name: String, tensors: [TensorDescription], metadata: [String: String], alignment: Int = 8) {
        self.name = name
        var dataOffset = 0
        var offsets = [Int](repeating: 0, count: tensors.count)
        var object = JSONObject()
        if !metadata.isEmpty {
            let members = metadata.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.string($0.value)) }
            object["__metadata__"] = .object(JSONObject(members))
        }
        for width in [8, 4, 2, 1] {
            for (index, tensor) in tensors.enumerated() where tensor.elementType.byteWidth == width {
                let end = dataOffset + tensor.byteCount
                offsets[index] = dataOffset
                object[tensor.name] = .object(
                    JSONObject([
                        ("dtype", .string(tensor.elementType.rawValue)),
                        ("shape", .array(tensor.shape.map { .integer($0) })),
                        ("data_offsets", .array([.integer(dataOffset), .integer(end)])),
                    ])
                )
                dataOffset = end
            }
        }
        var json = Array(JSONValue.object(object).serialized().utf8)
        let excess = (json.count + MemoryLayout<UInt64>.size) % alignment
        json += [UInt8](repeating: UInt8(ascii: " "), count: (alignment - excess) % alignment)
        header = withUnsafeBytes(of: UInt64(json.count).littleEndian, Array.init) + json
        let dataStart = header.count
        self.offsets = zip(tensors, offsets).map { ($0, dataStart + $1) }
        byteCount = dataStart + dataOffset
    }

    /// Splits tensors into files of at most `byteLimit` bytes of data each; a larger tensor gets a file of its own.
    static func plans(
        tensors: [TensorDescription],
        metadata: [String: String],
        byteLimit: Int
    ) -> [ShardPlan] {
        var groups: [[TensorDescription]] = [[]]
        var bytes = 0
        for tensor in tensors {
            if bytes > 0 && bytes + tensor.byteCount > byteLimit {
                groups.append([])
                bytes = 0
            }
            groups[groups.count - 1].append(tensor)
            bytes += tensor.byteCount
        }
        if groups.count == 1 {
            return [ShardPlan(name: ShardIndex.safetensors.singleName, tensors: groups[0], metadata: metadata)]
        }
        return groups.enumerated().map { index, group in
            let name = "model-\(fiveDigits(index + 1))-of-\(fiveDigits(groups.count)).safetensors"
            return ShardPlan(name: name, tensors: group, metadata: metadata)
        }
    }

    private static func fiveDigits(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}
