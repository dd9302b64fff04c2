import Foundation
import ModelDescription
import TensorFiles

/// Turns a float student into the packed checkpoint that is run, and back.
///
/// Tensor by tensor, memory bounded by the largest. Signs survive both ways without loss.
public struct CheckpointPacker: Sendable {
    /// Element type of the value vectors and of every tensor that stays in float; nil keeps each as it is stored, bit
    /// for bit. Float16 is half the size of float32 and rounds; a value beyond its range is an error, not an infinity.
    public var valueType: ElementType?
    /// How the embedding and an output projection of its own are stored; nil keeps what the source has.
    public var embeddingFormat: QuantizationConfiguration.EmbeddingFormat?
    /// Data bytes per file of the result.
    public var shardByteLimit: Int

    /// A packer that writes float16 vectors, as the paper counts them.
    public init(
        valueType: ElementType? = .float16,
        embeddingFormat: QuantizationConfiguration.EmbeddingFormat? = nil,
        shardByteLimit: Int = CheckpointWriter.defaultShardByteLimit
    ) {
        self.valueType = valueType
        self.embeddingFormat = embeddingFormat
        self.shardByteLimit = shardByteLimit
    }

    /// Packs a float student, or converts a packed checkpoint: the paper's own to the form that this project writes.
    ///
    /// - Throws: ``DecompositionError``, the errors of checkpoints and their files, `CancellationError`; the destination is then untouched.
    public func pack(
        student: Checkpoint,
        destination: URL,
        overwrite: Bool = false,
        progress: ProgressCallback = { _, _ in }
    ) throws {
        if student.kind == .dense { try student.require(.floatStudent) }
        try convert(student, to: .packed, destination, overwrite: overwrite, progress) { linear, writer in
            let signs = try student.storedSigns(of: linear)
            try signs.bytes.withUnsafeBytes { try writer.write(linear.weightName, bytes: $0) }
        }
    }

    /// Unpacks a packed checkpoint into a float student whose latent weights are 0.01 · sign.
    ///
    /// - Throws: ``DecompositionError``, the errors of checkpoints and their files, `CancellationError`; the destination is then untouched.
    public func unpack(
        packed: Checkpoint,
        destination: URL,
        overwrite: Bool = false,
        progress: ProgressCallback = { _, _ in }
    ) throws {
        try packed.require(.packed)
        try convert(packed, to: .floatStudent, destination, overwrite: overwrite, progress) { linear, writer in
            let signs = try packed.signs(of: linear)
            try writer.write(linear.weightName, floats: signs.floats(magnitude: StartRecipe.signMagnitude))
        }
    }

    private func convert(
        _ source: Checkpoint,
        to kind: CheckpointKind,
        _ destination: URL,
        overwrite: Bool,
        _ progress: ProgressCallback,
        weight: (LinearDescription, CheckpointWriter) throws -> Void
    ) throws {
        try source.validateOutput(destination)
        let configuration = source.configuration
        let sourceFormat = configuration.quantization?.embeddingFormat ?? .float
        let format = kind == .packed ? embeddingFormat ?? sourceFormat : .float
        let type = { (name: String) in
            // What 8 bits stood for has no type of its own.
            let stored = try source.description(of: name).elementType
            return valueType ?? (stored.isFloat ? stored : .float32)
        }
        let embeddings = Set(configuration.embeddingTensors.map(\.name))
        let fixed = Set(configuration.linears.map(\.weightName))
            .union(format == .int8 ? configuration.embeddingTensors.flatMap { [$0.name, $0.rowScale.name] } : [])
        let plan = try configuration.tensorPlan(
            kind: kind, weightType: .float32, valueType: .float32, embeddingFormat: format
        ) { _ in .float32 }
        .map { tensor in
            if fixed.contains(tensor.name) { return tensor }
            return TensorDescription(name: tensor.name, elementType: try type(tensor.name), shape: tensor.shape)
        }
        try StagedDirectory.write(to: destination, overwrite: overwrite) { directory in
            let writer = try CheckpointWriter(directory: directory, tensors: plan, shardByteLimit: shardByteLimit)
            let copy = { (name: String) in
                try writer.write(name, floats: source.floats(of: name))
                try source.releasePages(of: name)
            }
            let total = configuration.parameterCount
            var completed = 0
            for part in configuration.parts {
                try Task.checkCancellation()
                switch part {
                case .float(let tensor) where format == .int8 && embeddings.contains(tensor.name):
                    if sourceFormat == .int8 {
                        try source.withUnsafeBytes(of: tensor.name) { try writer.write(tensor.name, bytes: $0) }
                        try source.releasePages(of: tensor.name)
                        try copy(tensor.rowScale.name)
                    } else {
                        try writer.write(tensor, rounding: source.floats(of: tensor.name))
                        try source.releasePages(of: tensor.name)
                    }
                    completed += tensor.elementCount
                case .float(let tensor):
                    try copy(tensor.name)
                    completed += tensor.elementCount
                case .linear(let linear):
                    try weight(linear, writer)
                    try source.releasePages(of: linear.weightName)
                    try copy(linear.outputScaleName)
                    try copy(linear.inputScaleName)
                    completed += linear.weightCount
                }
                try progress(completed, total)
            }
            try writer.finish()
            var quantization = configuration.quantization
            quantization?.checkpointFormat = kind == .packed ? .packed : .float
            quantization?.embeddingFormat = format
            quantization?.valueType = try commonType(
                configuration.linears.flatMap { [try type($0.outputScaleName), try type($0.inputScaleName)] })
            try writeAtomically(
                configuration.jsonData(quantization: quantization),
                to: directory.appending(path: "config.json")
            )
            try source.copyAuxiliaryFiles(to: directory)
        }
    }
}

extension CheckpointWriter {
    /// Writes a matrix in 8 bits with a scale per row, as `--head-bits 8` rounds it at load:
    ///
    ///     s_r = max_c |W[r][c]| / 127,   q[r][c] = round(W[r][c] / s_r), ties to even
    fileprivate func write(_ matrix: TensorShape, rounding values: [Float]) throws {
        let columns = matrix.shape[1]
        var scales: [Float] = []
        var rounded: [Int8] = []
        rounded.reserveCapacity(values.count)
        for first in stride(from: 0, to: values.count, by: columns) {
            let row = values[first..<first + columns]
            let largest = row.reduce(0) { max($0, $1.magnitude) }
            // A row of less has no inverse in 32 bits; it is as good as zero.
            let isZero = largest < 1e-30
            let inverse = isZero ? 0 : 127 / largest
            scales.append(isZero ? 0 : largest / 127)
            for value in row { rounded.append(Int8((value * inverse).rounded(.toNearestOrEven))) }
        }
        try rounded.withUnsafeBytes { try write(matrix.name, bytes: $0) }
        try write(matrix.rowScale.name, floats: scales)
    }
}

/// The element type that holds the values of all of these exactly.
private func commonType(_ types: [ElementType]) -> ElementType {
    Set(types).count == 1 ? types[0] : .float32
}

extension Checkpoint {
    /// The signs of one linear of a student: packed, or those of its latent weight.
    ///
    /// - Throws: ``DecompositionError`` naming the tensor, and the errors of checkpoints.
    package func storedSigns(of linear: LinearDescription) throws -> SignMatrix {
        if kind == .packed { return try signs(of: linear) }
        let weight = try floats(of: linear.weightName)
        return try attributingErrors(to: linear.weightName, of: directory) {
            try SignMatrix(signsOf: weight, rows: linear.outputs, columns: linear.inputs)
        }
    }

    /// The packed signs of one linear of a packed checkpoint.
    ///
    /// - Throws: ``DecompositionError`` naming the tensor, and the errors of checkpoints.
    public func signs(of linear: LinearDescription) throws -> SignMatrix {
        try attributingErrors(to: linear.weightName, of: directory) {
            try withUnsafeBytes(of: linear.weightName) {
                try SignMatrix(packed: $0, rows: linear.outputs, columns: linear.inputs)
            }
        }
    }
}
