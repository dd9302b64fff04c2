import Foundation
import OneBitTraining

/// The stages of a command, and what each of them takes: what `--plan` prints.
struct StagePlan: Encodable {
    struct Stage: Encodable {
        var name: String
        /// Tokens written, trained on or read.
        var tokens: Int?
        var seconds: Double?
        /// At its peak, in the memory of the device that computes.
        var deviceBytes: Int?
        /// At its peak, in host memory beside an accelerator.
        var hostBytes: Int?
        /// What it writes.
        var diskBytes: Int?
    }

    var stages: [Stage]
    /// Piece by piece, of one process of the distillation.
    var memory: DistillationMemory?
    var placement: Placement?
    var processes: Int?
    var microBatchSize: Int?
    var steps: Int?
    var batchSize: Int?
    var sequenceLength: Int?
    /// Whether an accelerator computes, and a process has two memories.
    var isAccelerated: Bool

    var seconds: Double? {
        let known = stages.compactMap(\.seconds)
        return known.isEmpty ? nil : known.reduce(0, +)
    }

    var diskBytes: Int { stages.compactMap(\.diskBytes).reduce(0, +) }

    /// For people: the stages, and where the memory of the distillation goes.
    var text: String {
        var columns: [TextTable.Column] = [.text("stage"), .figure("tokens"), .figure("time")]
        columns += isAccelerated ? [.figure("device memory"), .figure("host memory")] : [.figure("memory")]
        var table = TextTable(columns + [.figure("disk")])
        func bytes(_ count: Int?) -> String { count.map { $0 > 0 ? Quantity.bytes($0) : "" } ?? "" }
        for stage in stages {
            table.append(
                [
                    stage.name, stage.tokens.map(Quantity.count) ?? "",
                    stage.seconds.map { Quantity.duration(seconds: $0) } ?? "", bytes(stage.deviceBytes),
                ] + (isAccelerated ? [bytes(stage.hostBytes)] : []) + [bytes(stage.diskBytes)])
        }
        if stages.count > 1 {
            table.append(
                ["in all", "", seconds.map { Quantity.duration(seconds: $0) } ?? ""]
                    + (isAccelerated ? ["", ""] : [""]) + [bytes(diskBytes)])
        }
        return [table.text, summary, pieces].filter { !$0.isEmpty }.joined(separator: "\n")
    }

    /// How the distillation runs, in one line.
    var summary: String {
        guard let steps, let batchSize, let sequenceLength, let microBatchSize, let placement else { return "" }
        let group = (processes ?? 1) > 1 ? ", \(processes ?? 1) processes" : ""
        return
            "\(Quantity.grouped(steps)) steps of \(batchSize) × \(sequenceLength) tokens, \(microBatchSize) at a time, "
            + "placement \(placement.rawValue)\(group).\n"
    }

    private var pieces: String {
        guard let memory else { return "" }
        var table = TextTable(
            [.text("memory of the distillation")]
                + (isAccelerated ? [.figure("device"), .figure("host")] : [.figure("bytes")]))
        func bytes(_ count: Int) -> String { count > 0 ? Quantity.bytes(count) : "" }
        for piece in memory.pieces {
            table.append([piece.name, bytes(piece.deviceBytes)] + (isAccelerated ? [bytes(piece.hostBytes)] : []))
        }
        return table.text
    }
}
