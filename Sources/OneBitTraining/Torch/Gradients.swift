import CLibTorch

/// Runs `body` without recording it for the backward pass.
public func withoutGradient<Result>(_ body: () throws -> Result) rethrows -> Result {
    let previous = lt_set_gradient_recording(false)
    defer { lt_set_gradient_recording(previous) }
    return try body()
}

extension Tensor {
    /// Makes this a leaf that gathers gradients, or one that does not.
    public func setRequiresGradient(_ required: Bool) throws {
        try check(lt_set_requires_gradient(handle, required), "requires_grad")
    }

    /// Adds the gradients of this scalar to the leaves that it came from.
    public func backward() throws { try check(lt_backward(handle), "the backward pass") }

    /// The gathered gradient, if there is one.
    public func gradient() throws -> Tensor? {
        guard let gradient = lt_gradient(handle) else { return nil }
        return try Tensor(gradient, "gradient")
    }

    public func clearGradient() { lt_clear_gradient(handle) }

    /// Adds the gradient gathered here to that of `target` and forgets it here.
    func moveGradient(to target: Tensor) throws {
        try check(lt_move_gradient(handle, target.handle), "adding gradients")
    }
}

/// Scales the gradients of `parameters` so that their joint 2-norm is at most `maximum`.
///
/// - Returns: The norm before; gradients whose norm is not finite are left as they are.
func clipGradients(of parameters: [Tensor], to maximum: Double) throws -> Double {
    var norm = 0.0
    var handles: [OpaquePointer?] = parameters.map(\.handle)
    try withExtendedLifetime(parameters) {
        try check(lt_clip_gradients(&handles, Int32(handles.count), maximum, &norm), "gradient clipping")
    }
    return norm
}
