import Torch

/// Brings gradients from the device that computes them to host memory, where the optimizer has its state.
///
/// A block's gradients go down in a stream of its own while the device computes the next block's, and are handed on once
/// they are there, in the order in which they came. Those of two blocks wait at a time.
final class GradientDownloads {
    private let device: Device
    private let receive: BlockSchedule.Receiver
    private let copies: DeviceStream
    private var underWay: [Download] = []

    /// Blocks whose gradients may be under way when the next come.
    private static let depth = 1

    private struct Download {
        /// Keeps the gradients, whose memory is the computation's, until they are copied.
        let gradients: [(parameter: Int, gradient: Tensor)]
        let copies: [Tensor]
        let arrived: DeviceEvent
    }

    /// - Parameters:
    ///   - device: Where the gradients are computed.
    ///   - receive: Takes them in host memory.
    init(from device: Device, receive: @escaping BlockSchedule.Receiver) throws {
        self.device = device
        self.receive = receive
        copies = try .beside(device)
    }

    func add(_ gradients: [(parameter: Int, gradient: Tensor)]) throws {
        try copies.wait(for: DeviceStream.current(of: device).record())
        underWay.append(
            try copies.run {
                Download(
                    gradients: gradients, copies: try gradients.map { try $0.gradient.pinned() },
                    arrived: try copies.record())
            })
        try finish(all: false)
    }

    /// Hands on what is still under way.
    func finish() throws { try finish(all: true) }

    private func finish(all: Bool) throws {
        while underWay.count > (all ? 0 : Self.depth) {
            let first = underWay.removeFirst()
            try first.arrived.wait()
            try receive(zip(first.gradients, first.copies).map { ($0.parameter, $1) })
        }
    }
}

extension ParameterValue {
    /// The same value on a device; the value itself where it lies there. From host memory it goes through pinned memory, as
    /// work of the current stream.
    func sent(to device: Device) throws -> ParameterValue {
        switch self {
        case .tensor(let tensor):
            return tensor.device == device ? self : .tensor(try tensor.pinned().sent(to: device))
        case .signs(let signs):
            let bits = try signs.bits
            if bits.device == device { return self }
            return .signs(try SignMatrix(bits: bits.pinned().sent(to: device), columns: signs.columns))
        }
    }
}
