import ModelDescription

/// From the residual stream to logits, for the rows that are wanted:
///
///     x ← norm(x)          where a norm stands behind the last block
///     x ← x Pᵀ             where the embedding has a width of its own
///     logits = x Whᵀ       Wh as it is stored or in 8 bits
struct OutputHead: Sendable {
    private enum Matrix: Sendable {
        case stored(FloatMatrix)
        case quantized(QuantizedMatrix)
    }

    /// Rows of a matrix that one part of the loop over them takes.
    private static let partRows = 64

    private let norm: Norm?
    private let projection: FloatMatrix?
    private let matrix: Matrix
    private let vocabularySize: Int

    init(of checkpoint: Checkpoint, precision: HeadPrecision, kernels: Kernels) throws {
        let configuration = checkpoint.configuration
        norm = try configuration.finalNorm.map {
            try Norm($0, epsilon: configuration.normEpsilon, of: checkpoint)
        }
        projection = try configuration.outputProjection.map { try FloatMatrix($0, of: checkpoint) }
        let stored = try FloatMatrix(configuration.head, of: checkpoint)
        vocabularySize = stored.rows
        matrix =
            switch precision {
            case .stored: .stored(stored)
            case .bits8: .quantized(try QuantizedMatrix(stored, kernels: kernels))
            }
    }

    /// Bytes that a token reads.
    var byteCount: Int {
        let projectionBytes = projection?.byteCount ?? 0
        return switch matrix {
        case .stored(let matrix): matrix.byteCount + projectionBytes
        case .quantized(let matrix): matrix.byteCount + projectionBytes
        }
    }

    /// x: [rows, hiddenSize]; logits: [rows, vocabularySize].
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, into logits: UnsafeMutablePointer<Float>, workspace: Workspace,
        kernels: Kernels, member: inout Team.Member
    ) {
        let input = input(of: x, rows: rows, workspace: workspace, kernels: kernels, member: &member)
        member.forEach(vocabularySize, grain: Self.partRows) { range in
            switch matrix {
            case .stored(let matrix): matrix.product(rows: range, input, tokens: rows, into: logits, kernels: kernels)
            case .quantized(let matrix):
                matrix.product(rows: range, input, tokens: rows, into: logits, kernels: kernels)
            }
        }
    }

    /// What the matrix reads of x [rows, hiddenSize]: [rows, embeddingSize], normalised; in the workspace, or x itself.
    func input(
        of x: UnsafePointer<Float>, rows: Int, workspace: Workspace, kernels: Kernels, member: inout Team.Member
    ) -> UnsafePointer<Float> {
        var input = x
        if let norm {
            norm(input, rows: rows, into: workspace.normed.pointer, kernels: kernels, member: &member)
            input = UnsafePointer(workspace.normed.pointer)
        }
        guard let projection else { return input }
        let projected = workspace.embedded.pointer
        let source = input
        member.forEach(projection.rows, grain: Self.partRows) { range in
            projection.product(rows: range, source, tokens: rows, into: projected, kernels: kernels)
        }
        return UnsafePointer(projected)
    }
}
