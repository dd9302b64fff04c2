import ModelDescription
import TensorFiles

/// What enters each block of a forward pass [rows, hiddenSize], and at last what the output head reads
/// [rows, embeddingSize].
// Unchecked because of the buffers: the members of a team write ranges of rows that do not overlap, and nobody else does
// before the pass is over.
final class HiddenStates: @unchecked Sendable {
    private let stages: [Buffer<Float>]
    private let widths: [Int]

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(configuration: ModelConfiguration, rows: Int) throws {
        widths =
            [Int](repeating: configuration.hiddenSize, count: configuration.layerCount) + [configuration.embeddingSize]
        stages = try widths.map { try Buffer(count: rows * $0) }
    }

    /// Copies x [rows, the stage's width].
    func record(_ stage: Int, _ x: UnsafePointer<Float>, rows: Int, member: inout Team.Member) {
        let width = widths[stage]
        member.forEach(rows) { range in
            let first = range.lowerBound * width
            (stages[stage].pointer + first).update(from: x + first, count: range.count * width)
        }
    }

    var arrays: [[Float]] {
        stages.map { Array(UnsafeBufferPointer(start: $0.pointer, count: $0.count)) }
    }
}
