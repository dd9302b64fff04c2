import Foundation
import JSON
import ModelDescription
import SignDecomposition
import TensorFiles

/// Writes a student as the dense model of its own family that it is equal to, for any engine that runs the family:
///
///     ((x ⊙ g) Sᵀ) ⊙ h = x Wᵀ          W = h gᵀ ⊙ S
///
/// Tensor by tensor, memory bounded by the largest.
public struct DenseExporter: Sendable {
    /// Element type of everything.
    public var elementType: ElementType
    /// Data bytes per file of the result.
    public var shardByteLimit: Int

    public init(
        elementType: ElementType = .float16, shardByteLimit: Int = CheckpointWriter.defaultShardByteLimit
    ) {
        self.elementType = elementType
        self.shardByteLimit = shardByteLimit
    }

    /// - Parameters:
    ///   - student: A float student or a packed one.
    ///   - destination: The directory to write; nothing is there until it is complete.
    ///   - overwrite: Whether a directory that stands there is replaced.
    ///   - progress: Called after each tensor.
    /// - Throws: ``ExportError``, the errors of checkpoints and their files, `CancellationError`; the destination is then
    ///   untouched.
    public func export(
        _ student: Checkpoint, to destination: URL, overwrite: Bool = false, progress: ProgressCallback = { _, _ in }
    ) throws {
        try student.requireExportable()
        try student.validateOutput(destination)
        let configuration = student.configuration
        // Other engines want the family's own tensors.
        let plan = configuration.fused(
            configuration.tensorPlan(kind: .dense, weightType: elementType, valueType: elementType) { _ in elementType }
        )
        let fused = configuration.fusedLinears
        let matrices = Dictionary(
            uniqueKeysWithValues: fused.flatMap { name, linears in linears.map { ($0.weightName, name) } })
        try StagedDirectory.write(to: destination, overwrite: overwrite) { directory in
            let writer = try CheckpointWriter(directory: directory, tensors: plan, shardByteLimit: shardByteLimit)
            var completed = 0
            // Of a matrix that is not complete.
            var rows: [Float] = []
            for part in configuration.parts {
                try Task.checkCancellation()
                switch part {
                case .float(let tensor):
                    try writer.write(tensor.name, floats: student.floats(of: tensor.name))
                    try student.releasePages(of: tensor.name)
                    completed += tensor.elementCount
                case .linear(let linear):
                    rows += try OneBitLayer(linear, of: student).weight()
                    let matrix = matrices[linear.weightName] ?? linear.weightName
                    if fused[matrix].map({ $0.last == linear }) ?? true {
                        try writer.write(matrix, floats: rows)
                        rows = []
                    }
                    completed += linear.weightCount
                }
                try progress(completed, configuration.parameterCount)
            }
            try writer.finish()
            try writeAtomically(
                configuration.jsonData(denseType: elementType), to: directory.appending(path: "config.json"))
            try student.copyAuxiliaryFiles(to: directory)
        }
    }
}

/// One linear layer of a student in memory.
struct OneBitLayer {
    let description: LinearDescription
    let signs: SignMatrix
    /// h [out]
    var outputScale: [Float]
    /// g [in]; nil where it has gone somewhere else.
    var inputScale: [Float]?
    /// b [out]
    var bias: [Float]?

    init(_ linear: LinearDescription, of student: Checkpoint) throws {
        description = linear
        signs = try student.storedSigns(of: linear)
        outputScale = try student.floats(of: linear.outputScaleName)
        inputScale = try student.floats(of: linear.inputScaleName)
        bias = try linear.bias.map { try student.floats(of: $0.name) }
        try student.releasePages(of: linear.weightName)
    }

    /// W = h gᵀ ⊙ S, [out, in]. Rows and columns behind those that there are hold zeros, or columns h.
    func weight(rows: Int? = nil, columns: Int? = nil, fillsColumns: Bool = false) -> [Float] {
        let width = columns ?? signs.columns
        var weight = [Float](repeating: 0, count: (rows ?? signs.rows) * width)
        let signs = signs.floats()
        for row in 0..<self.signs.rows {
            let h = outputScale[row]
            for column in 0..<self.signs.columns {
                weight[row * width + column] =
                    signs[row * self.signs.columns + column] * h * (inputScale?[column] ?? 1)
            }
            if fillsColumns { for column in self.signs.columns..<width { weight[row * width + column] = h } }
        }
        return weight
    }
}
