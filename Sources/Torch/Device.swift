import CLibTorch

/// Where a tensor's elements lie and are computed.
public struct Device: Sendable, Hashable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        case cpu, cuda
        /// Nowhere: tensors with a shape and a type and no elements, to try out what a model would make.
        case meta
    }

    public let kind: Kind
    /// Number of the device among those of its kind.
    public let index: Int

    public static let cpu = Device(kind: .cpu, index: 0)
    public static let meta = Device(kind: .meta, index: 0)
    /// A CUDA device; one that ``DeviceRequest/select(localRank:explain:)`` has given.
    public static func cuda(_ index: Int) -> Device { Device(kind: .cuda, index: index) }

    public var description: String { kind == .cuda ? "cuda:\(index)" : kind.rawValue }

    var bridged: lt_device {
        let kind =
            switch kind {
            case .cpu: LT_CPU
            case .cuda: LT_CUDA
            case .meta: LT_META
            }
        return lt_device(kind: kind, index: Int32(index))
    }

    init(_ device: lt_device) {
        switch device.kind {
        case LT_CUDA: self = .cuda(Int(device.index))
        case LT_META: self = .meta
        default: self = .cpu
        }
    }

    private init(kind: Kind, index: Int) {
        self.kind = kind
        self.index = index
    }

    /// Waits for all work that was started on the device.
    public func synchronize() throws {
        if kind == .cuda { try check(lt_synchronize(bridged), "the work of \(self)") }
    }
}

// MARK: Memory

/// The memory of a device in bytes.
public struct DeviceMemory: Sendable, Hashable {
    /// What nothing uses, other processes included.
    public let free: Int
    public let total: Int
    /// In tensors of this process.
    public let allocated: Int
    /// The most that was ever in tensors at once, since the last reset.
    public let peakAllocated: Int
    /// The most that the allocator held, with what it kept for tensors to come.
    public let peakReserved: Int
    /// How often the allocator ran out and gave back what it kept: more than a few times says that memory is in pieces.
    public let retries: Int
}

extension Device {
    /// The device's memory; nil for the CPU, whose memory is the operating system's to tell.
    public func memory() throws -> DeviceMemory? {
        guard kind == .cuda else { return nil }
        var memory = lt_memory()
        try check(lt_device_memory(bridged, &memory), "the memory of \(self)")
        return DeviceMemory(
            free: Int(memory.free), total: Int(memory.total), allocated: Int(memory.allocated),
            peakAllocated: Int(memory.peak_allocated), peakReserved: Int(memory.peak_reserved),
            retries: Int(memory.retries))
    }

    /// Lets the peaks of ``memory()`` start again from what is in use now.
    public func resetPeakMemory() throws {
        if kind == .cuda { try check(lt_reset_peak_memory(bridged), "the peak memory of \(self)") }
    }

    /// Gives memory that the allocator keeps for tensors to come back to the device.
    public func releaseCachedMemory() throws {
        if kind == .cuda { try check(lt_release_cached_memory(), "the cached memory of \(self)") }
    }
}

// MARK: What a device is

/// What a CUDA device says of itself.
public struct DeviceProperties: Sendable, Hashable, CustomStringConvertible {
    public let device: Device
    public let name: String
    /// Compute capability, 9.0 for an H100.
    public let capability: ComputeCapability
    /// Bytes of its memory.
    public let memory: Int

    public struct ComputeCapability: Sendable, Hashable, Comparable, CustomStringConvertible {
        public let major: Int
        public let minor: Int

        /// The oldest that libtorch 2.11's wheels hold code for: Turing (2018).
        public static let least = ComputeCapability(major: 7, minor: 5)

        public init(major: Int, minor: Int) {
            self.major = major
            self.minor = minor
        }

        public var description: String { "\(major).\(minor)" }

        public static func < (a: Self, b: Self) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
    }

    public var description: String { "\(device), \(name), \(memory >> 30) GiB" }
}

extension Device {
    /// What a CUDA device says of itself; nil for others.
    public func properties() throws -> DeviceProperties? {
        guard kind == .cuda else { return nil }
        var properties = lt_cuda_device()
        try check(lt_describe_cuda_device(Int32(index), &properties), "what \(self) is")
        let name = withUnsafeBytes(of: &properties.name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return DeviceProperties(
            device: self, name: name,
            capability: .init(major: Int(properties.major), minor: Int(properties.minor)), memory: Int(properties.bytes)
        )
    }
}
