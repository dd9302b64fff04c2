import ModelDescription

/// Floats that never change: a norm's weights, value vectors.
// Unchecked because of the pointer: nothing writes after `init`, and the buffer lives as long as this.
final class FloatVector: @unchecked Sendable {
    let pointer: UnsafePointer<Float>
    let count: Int
    private let buffer: Buffer<Float>

    init(_ values: [Float]) throws {
        buffer = try Buffer(count: values.count)
        buffer.pointer.update(from: values, count: values.count)
        count = values.count
        pointer = UnsafePointer(buffer.pointer)
    }

    /// - Throws: `CheckpointError` when a value is NaN or infinite.
    convenience init(_ name: String, of checkpoint: Checkpoint) throws {
        try self.init(checkpoint.floats(of: name))
    }
}
