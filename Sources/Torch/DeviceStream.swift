import CLibTorch
import Synchronization

/// A queue of a device's work: copies in a stream of their own run beside the computation.
///
/// The CPU has none and does what it is asked at once; its streams and events are there so that what is written for a device
/// with its own memory runs, and is tested, without one.
public struct DeviceStream: Sendable {
    public let device: Device
    private let stream: lt_stream

    private init(_ device: Device, _ find: (lt_device, UnsafeMutablePointer<lt_stream>) -> Int32) throws {
        self.device = device
        var stream = lt_stream()
        if device.kind == .cuda { try check(find(device.bridged, &stream), "a stream of \(device)") }
        self.stream = stream
    }

    /// The stream that the calling thread's work goes to.
    public static func current(of device: Device) throws -> DeviceStream {
        try DeviceStream(device) { lt_current_stream($0, $1) }
    }

    /// The stream of the device's copies from and to host memory, beside the computation's. There is one, since memory that
    /// a stream's tensors give back is kept for the same stream.
    public static func copies(of device: Device) throws -> DeviceStream {
        try copyStreams.withLock { streams in
            if let stream = streams[device] { return stream }
            let stream = try DeviceStream(device) { lt_new_stream($0, $1) }
            streams[device] = stream
            return stream
        }
    }

    private static let copyStreams = Mutex<[Device: DeviceStream]>([:])

    /// Sends the work that `body` starts on the calling thread to this stream.
    ///
    /// Memory that a stream's tensors give back is used again by later work of the same stream only. Who hands a tensor
    /// from one stream to another therefore keeps it until the other's work on it is done, or lets the first wait for that.
    public func run<Result>(_ body: () throws -> Result) throws -> Result {
        guard device.kind == .cuda else { return try body() }
        var previous = lt_stream()
        try check(lt_exchange_stream(stream, &previous), "a change of stream")
        defer { _ = lt_exchange_stream(previous, &previous) }
        return try body()
    }

    /// The event that all work which the stream holds now is done.
    public func record() throws -> DeviceEvent {
        guard device.kind == .cuda else { return DeviceEvent(handle: nil) }
        guard let event = lt_record_event(stream) else { throw TorchError.last(in: "an event of \(device)") }
        return DeviceEvent(handle: event)
    }

    /// Holds what the stream receives from now on until the event has come; the calling thread goes on.
    public func wait(for event: DeviceEvent) throws {
        guard let handle = event.handle else { return }
        try check(lt_stream_wait(stream, handle), "a wait of a stream")
        withExtendedLifetime(event) {}
    }
}

/// That a device has come to some point of its work.
public final class DeviceEvent: @unchecked Sendable {
    // Proof of Sendable: the handle never changes, and CUDA's events may be waited for by any thread.
    fileprivate let handle: OpaquePointer?

    fileprivate init(handle: OpaquePointer?) { self.handle = handle }

    deinit { handle.map(lt_event_release) }

    /// Holds the calling thread until the event has come.
    public func wait() throws {
        if let handle { try check(lt_event_wait(handle), "a wait for a device") }
    }
}

extension Tensor {
    /// A copy in host memory that devices copy from by themselves (page-locked); plain memory while no device is in use.
    public func pinned() throws -> Tensor {
        let copy = try Tensor.compute("pinned memory") { _ in
            lt_empty_pinned(dtype.bridged, shape.dimensions, shape.rank)
        }
        try Tensor.withHandles([copy, self]) { try check(lt_copy_async($0[0], $0[1]), "a copy into pinned memory") }
        return copy
    }

    /// The same elements on a device; this tensor where they lie there.
    ///
    /// From ``pinned()`` memory the copy is work of the current stream, which the call does not wait for.
    public func sent(to device: Device) throws -> Tensor {
        try .compute("a copy to \(device)", self) { lt_to_async($0[0], device.bridged) }
    }
}
