import Foundation

/// The stages of a command, and what each of them takes: what `--plan` prints.
struct StageTable: Encodable {
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
    /// Whether an accelerator computes, and a process has two memories.
    var isAccelerated = false

    var seconds: Double? {
        let known = stages.compactMap(\.seconds)
        return known.isEmpty ? nil : known.reduce(0, +)
    }

    var diskBytes: Int { stages.compactMap(\.diskBytes).reduce(0, +) }

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
        return table.text
    }
}
