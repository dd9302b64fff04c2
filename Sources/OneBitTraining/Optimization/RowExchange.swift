import Torch

/// Parameters whose gradients are summed over the ranks in one collective, and where each stands in a rank's part of it.
struct GradientBucket {
    let members: [Int]
    /// First element of each member in a part.
    let offsets: [Int]
    /// Elements of a part: the rows of a rank of all members, filled up to ⌈rows / size⌉.
    let partLength: Int
    /// Whether the members are those of a block, whose gradients come once a micro-batch.
    let isBlock: Bool
    private let parameters: [TrainedParameter]
    private let partition: RowPartition

    init(_ members: [Int], of parameters: [TrainedParameter], _ partition: RowPartition, isBlock: Bool) {
        self.members = members
        self.isBlock = isBlock
        self.parameters = members.map { parameters[$0] }
        self.partition = partition
        var offsets: [Int] = []
        var length = 0
        for parameter in self.parameters {
            offsets.append(length)
            length += partition.rowsPerRank(parameter) * parameter.columns
        }
        self.offsets = offsets
        partLength = length
    }

    /// Adds a gradient to the parts of all ranks, which lie one behind the other.
    func add(_ gradient: Tensor, of index: Int, to parts: TensorBuffer) throws {
        guard let member = members.firstIndex(of: index) else { preconditionFailure("a gradient of another bucket") }
        let parameter = parameters[member]
        let flat = try gradient.reshaped([parameter.elementCount])
        for rank in 0..<partition.size {
            let rows = partition.rows(parameter, of: rank)
            if rows.isEmpty { continue }
            try parts.add(
                flat.narrowed(
                    0, from: rows.lowerBound * parameter.columns, length: rows.count * parameter.columns),
                along: 0, from: rank * partLength + offsets[member])
        }
    }
}

/// The all-gather of the rows of several tensors in one collective.
struct RowExchange {
    private let shapes: [(rows: Int, columns: Int)]
    private let partition: RowPartition
    private let offsets: [Int]
    private let partLength: Int

    init(_ shapes: [(rows: Int, columns: Int)], _ partition: RowPartition) {
        self.shapes = shapes
        self.partition = partition
        var offsets: [Int] = []
        var length = 0
        for shape in shapes {
            offsets.append(length)
            length += (shape.rows + partition.size - 1) / partition.size * shape.columns
        }
        self.offsets = offsets
        partLength = length
    }

    /// - Parameters:
    ///   - own: This rank's rows of each tensor, which lie on `device` as the trailer does.
    ///   - trailer: What each rank tells besides.
    /// - Returns: Each tensor, flat unless there is one rank alone; the ranks' trailers; and everything that was received.
    func gather(
        _ own: [Tensor], trailer: Tensor?, dtype: DType, device: Device, _ group: ProcessGroup
    ) throws -> (wholes: [Tensor], trailers: [Tensor], all: Tensor?) {
        if partition.size == 1 { return (own, [trailer].compactMap(\.self), nil) }
        let trailerLength = trailer?.elementCount ?? 0
        let length = partLength + trailerLength
        let part = try TensorBuffer([max(1, length)], dtype: dtype, device: device)
        for (tensor, offset) in zip(own, offsets) where tensor.elementCount > 0 {
            try part.write(tensor.reshaped([tensor.elementCount]), along: 0, from: offset)
        }
        if let trailer { try part.write(trailer, along: 0, from: partLength) }
        let all = try group.allGather(part.tensor).reshaped([group.size * max(1, length)])
        let wholes = try zip(shapes, offsets).map { shape, offset in
            let share = (shape.rows + partition.size - 1) / partition.size
            return try Tensor.concatenated(
                (0..<partition.size).compactMap { rank in
                    let rows = min(share, shape.rows - rank * share)
                    return rows <= 0
                        ? nil : try all.narrowed(0, from: rank * length + offset, length: rows * shape.columns)
                }, along: 0)
        }
        let trailers = try (0..<(trailer == nil ? 0 : group.size)).map {
            try all.narrowed(0, from: $0 * length + partLength, length: trailerLength)
        }
        return (wholes, trailers, all)
    }
}
