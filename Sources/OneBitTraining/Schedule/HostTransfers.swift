import Torch

/// Brings gradients from the device that computes them to host memory, where the optimizer has its state.
///
/// Those that come together, a block's, go down in a stream of their own while the device computes the next block's, and
/// are handed on once they are there, in the order in which they came. Those of two blocks are on the device at a time.
final class GradientDownloads {
    typealias Gradients = [(parameter: Int, gradient: Tensor)]

    private let device: Device
    private let copies: DeviceStream
    private var underWay: [Download] = []

    /// Blocks whose gradients may be under way when the next come.
    private static let depth = 1

    private struct Download {
        /// Keeps the gradients, whose memory is the computation's, until they are copied.
        let gradients: Gradients
        let copies: [Tensor]
        let arrived: DeviceEvent
    }

    /// - Parameter device: Where the gradients are computed.
    init(from device: Device) throws {
        self.device = device
        copies = try .copies(of: device)
    }

    /// Starts to copy gradients.
    ///
    /// - Parameter receive: Takes earlier ones, in host memory.
    func add(_ gradients: Gradients, receive: (Gradients) throws -> Void) throws {
        try copies.wait(for: DeviceStream.current(of: device).record())
        underWay.append(
            try copies.run {
                Download(
                    gradients: gradients, copies: try gradients.map { try $0.gradient.pinned() },
                    arrived: try copies.record())
            })
        while underWay.count > Self.depth { try finishFirst(receive) }
    }

    /// Hands on what is still under way.
    func finish(receive: (Gradients) throws -> Void) throws {
        while !underWay.isEmpty { try finishFirst(receive) }
    }

    private func finishFirst(_ receive: (Gradients) throws -> Void) throws {
        let first = underWay.removeFirst()
        try first.arrived.wait()
        try receive(zip(first.gradients, first.copies).map { ($0.parameter, $1) })
    }
}

extension Tensor {
    /// The same elements on a device; this tensor where they lie there. From host memory they go through pinned memory, as
    /// work of the current stream.
    func uploaded(to device: Device) throws -> Tensor {
        self.device == device ? self : try pinned().sent(to: device)
    }
}
