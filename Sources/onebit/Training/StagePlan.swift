import OneBitTraining

/// A plan of a training: its stages, and how the distillation runs.
struct StagePlan: Encodable {
    var table: StageTable
    /// Piece by piece, of one process of the distillation.
    var memory: DistillationMemory
    var placement: Placement
    var processes: Int
    var microBatchSize: Int
    var keepsActivations: Bool
    var steps: Int
    var batchSize: Int
    var sequenceLength: Int

    /// The keys of the table beside those of the distillation.
    func encode(to encoder: any Encoder) throws {
        try table.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(memory, forKey: .memory)
        try container.encode(placement, forKey: .placement)
        try container.encode(processes, forKey: .processes)
        try container.encode(microBatchSize, forKey: .microBatchSize)
        try container.encode(keepsActivations, forKey: .keepsActivations)
        try container.encode(steps, forKey: .steps)
        try container.encode(batchSize, forKey: .batchSize)
        try container.encode(sequenceLength, forKey: .sequenceLength)
    }

    private enum CodingKeys: CodingKey {
        case memory, placement, processes, microBatchSize, keepsActivations, steps, batchSize, sequenceLength
    }

    /// For people: the stages, and where the memory of the distillation goes.
    var text: String { [table.text, summary, pieces].joined(separator: "\n") }

    /// How the distillation runs, in one line.
    private var summary: String {
        let group = processes > 1 ? ", \(processes) processes" : ""
        return
            "\(Quantity.grouped(steps)) steps of \(batchSize) × \(sequenceLength) tokens, \(microBatchSize) at a time, "
            + "placement \(placement.rawValue)\(keepsActivations ? ", activations kept" : "")\(group).\n"
    }

    private var pieces: String {
        var table = TextTable(
            [.text("memory of the distillation")]
                + (self.table.isAccelerated ? [.figure("device"), .figure("host")] : [.figure("bytes")]))
        func bytes(_ count: Int) -> String { count > 0 ? Quantity.bytes(count) : "" }
        for piece in memory.pieces {
            table.append(
                [piece.name, bytes(piece.deviceBytes)] + (self.table.isAccelerated ? [bytes(piece.hostBytes)] : []))
        }
        return table.text
    }
}
