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

/// The machine that a run is planned for.
public struct Machine: Sendable, Hashable, Codable {
    /// Processes of the group, one per device.
    public var processes: Int
    /// Bytes of one accelerator; nil where the CPU computes.
    public var deviceBytes: Int?
    /// Bytes of host memory that can be had, for all processes of one machine.
    public var hostBytes: Int
    /// Processes that share a host.
    public var processesPerHost: Int

    public init(processes: Int = 1, deviceBytes: Int? = nil, hostBytes: Int, processesPerHost: Int? = nil) {
        self.processes = processes
        self.deviceBytes = deviceBytes
        self.hostBytes = hostBytes
        self.processesPerHost = processesPerHost ?? processes
    }

    /// Shares of memory that a plan may take: fragmentation and other programs get the rest.
    static let usableDeviceShare = 0.94
    static let usableHostShare = 0.95
}
