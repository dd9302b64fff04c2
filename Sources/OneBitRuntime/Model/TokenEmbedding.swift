import ModelDescription

/// What enters the first block:
///
///     x = E[token]                    rotary positions
///     x = E[token] Pᵀ + L[position]   learned ones; P where the embedding has a width of its own
struct TokenEmbedding: Sendable {
    let tokens: FloatMatrix
    private let projection: FloatMatrix?
    private let positions: FloatMatrix?
    /// Rows of the table of positions before that of the first.
    private let positionOffset: Int

    init(of checkpoint: Checkpoint) throws {
        let configuration = checkpoint.configuration
        tokens = try FloatMatrix(configuration.embedding, of: checkpoint)
        projection = try configuration.inputProjection.map { try FloatMatrix($0, of: checkpoint) }
        positions = try configuration.positionEmbedding.map { try FloatMatrix($0, of: checkpoint) }
        positionOffset = if case .learned(let offset) = configuration.structure.positions { offset } else { 0 }
    }

    /// Writes the row of one token to x [hiddenSize].
    ///
    /// - Parameter room: for a row of the embedding, and for one of the residual stream.
    func fill(
        _ x: UnsafeMutablePointer<Float>, token: Int, position: Int, room: UnsafeMutablePointer<Float>,
        kernels: Kernels
    ) {
        if let projection {
            tokens.copyRow(token, to: room, kernels: kernels)
            projection.product(rows: 0..<projection.rows, room, tokens: 1, into: x, kernels: kernels)
        } else {
            tokens.copyRow(token, to: x, kernels: kernels)
        }
        if let positions {
            positions.copyRow(position + positionOffset, to: room, kernels: kernels)
            kernels.pointee.add(room, positions.columns, x)
        }
    }
}
