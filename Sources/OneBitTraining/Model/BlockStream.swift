import Torch

/// A model's blocks in their order, for a forward pass on its device.
///
/// Blocks that are kept in host memory come to the device as the pass reaches them: while it computes with one, the next
/// is copied in a stream of its own. Two of them are on the device at a time.
final class BlockStream {
    private let blocks: [TransformerBlock]
    private let device: Device
    private let isStreamed: Bool
    /// Of the copies.
    private let copies: DeviceStream
    private var position = 0
    private var coming: Arrival?

    /// A block that is on its way.
    private struct Arrival {
        let block: TransformerBlock
        let arrived: DeviceEvent
    }

    init(_ model: Transformer) throws {
        blocks = model.blocks
        device = model.device
        isStreamed = model.streamsBlocks
        copies = isStreamed ? try .copies(of: device) : try .current(of: device)
    }

    /// What leaves the next block, of what enters it.
    ///
    /// - Parameter observe: Receives queries and keys, as ``Attention`` gives them.
    func next(
        _ x: Tensor, at positions: TokenPositions, observe: ((_ queries: Tensor, _ keys: Tensor) -> Void)? = nil
    ) throws -> Tensor {
        defer { position += 1 }
        guard isStreamed else { return try blocks[position](x, at: positions, observe: observe) }
        let here = try coming ?? send(position)
        coming = position + 1 < blocks.count ? try send(position + 1) : nil
        let computation = try DeviceStream.current(of: device)
        try computation.wait(for: here.arrived)
        let y = try here.block(x, at: positions, observe: observe)
        // The memory of this block, which is the copies', is written over with the one behind the next: not before it was
        // read to the end.
        try copies.wait(for: computation.record())
        return y
    }

    private func send(_ position: Int) throws -> Arrival {
        try copies.run {
            let block = try blocks[position].map { try $0.sent(to: device) }
            return Arrival(block: block, arrived: try copies.record())
        }
    }
}

// MARK: A block of other tensors

extension TransformerBlock {
    /// The block with what `transform` makes of its tensors; signs stay as they are.
    func map(_ transform: (Tensor) throws -> Tensor) rethrows -> TransformerBlock {
        TransformerBlock(
            attentionResidual: try attentionResidual.mapNorms { try $0.map(transform) },
            attention: try attention.map(transform), mlpResidual: try mlpResidual.mapNorms { try $0.map(transform) },
            mlp: try mlp.map(transform), parameters: parameters)
    }
}

extension Attention {
    fileprivate func map(_ transform: (Tensor) throws -> Tensor) rethrows -> Attention {
        Attention(
            layer: layer, headCount: headCount, keyValueHeadCount: keyValueHeadCount, headSize: headSize,
            slidingWindow: slidingWindow, rotation: rotation, scale: scale, softCap: softCap,
            query: try query.map(transform), key: try key.map(transform), value: try value.map(transform),
            output: try output.map(transform),
            queryNorm: try queryNorm?.map(transform), keyNorm: try keyNorm?.map(transform))
    }
}

extension MLP {
    fileprivate func map(_ transform: (Tensor) throws -> Tensor) rethrows -> MLP {
        MLP(
            kind: kind, gate: try gate?.map(transform), up: try up.map(transform), down: try down.map(transform))
    }
}

extension Norm {
    fileprivate func map(_ transform: (Tensor) throws -> Tensor) rethrows -> Norm {
        Norm(
            weight: try transform(weight), bias: try bias.map(transform), epsilon: epsilon,
            countsFromOne: countsFromOne)
    }
}

extension LinearLayer {
    fileprivate func map(_ transform: (Tensor) throws -> Tensor) rethrows -> LinearLayer {
        switch self {
        case .dense(let weight, let bias):
            return .dense(weight: try transform(weight), bias: try bias.map(transform))
        case .oneBit(let signs, let product, let inputScale, let outputScale, let bias, let settings):
            return .oneBit(
                signs: signs, product: product, inputScale: try transform(inputScale),
                outputScale: try transform(outputScale), bias: try bias.map(transform), settings: settings)
        }
    }
}
