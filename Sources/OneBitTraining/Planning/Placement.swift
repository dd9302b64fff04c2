/// Where a distillation keeps what it does not compute with at the moment.
///
/// A pass reads the student's packed signs and value vectors and one teacher block at a time; latent matrices, their
/// gradient sums and moments are touched once a step. That is what may move off a device.
public enum Placement: String, Sendable, Hashable, Codable, CaseIterable {
    /// Everything on the device that computes.
    case resident
    /// Latents, gradient sums and moments divided by rows over the devices of a process group; signs on each of them.
    case sharded
    /// Latents, gradient sums and moments in host memory: products go down, bits come up.
    case host
    /// As ``host``, and the teacher's blocks come from host memory as the pass reaches them.
    case streamed

    /// Whether latents, gradient sums and moments are in host memory, whatever device computes.
    var keepsStateOnHost: Bool { self == .host || self == .streamed }
}
