import CLibTorch

/// Runs `body` without recording it for the backward pass.
public func withoutGradient<Result>(_ body: () throws -> Result) rethrows -> Result {
    let previous = lt_set_gradient_recording(false)
    defer { lt_set_gradient_recording(previous) }
    return try body()
}

/// Runs `body` recording it for the backward pass, within `withoutGradient`.
public func withGradient<Result>(_ body: () throws -> Result) rethrows -> Result {
    let previous = lt_set_gradient_recording(true)
    defer { lt_set_gradient_recording(previous) }
    return try body()
}

extension Tensor {
    /// The same values as a leaf of the backward pass, which gradients can be asked of.
    public func requiringGradient() throws -> Tensor {
        try .compute("a leaf of the backward pass", self) { lt_requiring_gradient($0[0]) }
    }

    /// A leaf of the backward pass of a shape that takes no memory: its values are never read, its gradient is, in its type.
    public static func gradientCarrier(
        shape: [Int], dtype: DType = .float32, device: Device = .cpu
    ) throws -> Tensor {
        try compute("a leaf of the backward pass") { _ in
            lt_gradient_carrier(dtype.bridged, shape.dimensions, shape.rank, device.bridged)
        }
    }

    /// The gradients of Σ self ⊙ upstream by each of the leaves; nil for one that this tensor does not depend on.
    ///
    /// Several threads may do this at once with the same leaves.
    ///
    /// - Parameters:
    ///   - leaves: What `requiringGradient` or ``gradientCarrier(shape:dtype:device:)`` returned.
    ///   - upstream: The loss's gradient by this tensor; nil where this tensor is the loss itself, a scalar.
    public func gradients(by leaves: [Tensor], upstream: Tensor? = nil) throws -> [Tensor?] {
        try Self.gradients(of: [(self, upstream)], by: leaves)
    }

    /// The gradients of Σ over several outputs of Σ output ⊙ upstream, likewise.
    public static func gradients(
        of outputs: [(tensor: Tensor, upstream: Tensor?)], by leaves: [Tensor]
    ) throws -> [Tensor?] {
        try withHandles(outputs.map(\.tensor) + outputs.map(\.upstream) + leaves) { handles in
            var gradients = [OpaquePointer?](repeating: nil, count: leaves.count)
            let count = outputs.count
            try check(
                lt_gradients(
                    Array(handles[..<count]), Array(handles[count..<2 * count]), Int32(count),
                    Array(handles[(2 * count)...]), Int32(leaves.count), &gradients), "the backward pass")
            return adopt(gradients)
        }
    }
}
