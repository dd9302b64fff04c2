import Foundation
import ModelFiles

/// Turns a float student into the packed checkpoint that is run, and back.
///
/// Tensor by tensor, memory bounded by the largest. Signs survive both ways without loss.
public struct CheckpointPacker: Sendable {
    /// Element type of the value vectors and of every tensor that stays in float. Float16 is half the size and
    /// rounds; a value beyond its range is an error, not an infinity.
    public var valueType: ElementType
    /// Data bytes per file of the result.
    public var shardByteLimit: Int

    /// A packer with the release's float16 vectors.
    public init(
        valueType: ElementType = .float16,
        shardByteLimit: Int = CheckpointWriter.defaultShardByteLimit
    ) {
        self.valueType = valueType
        self.shardByteLimit = shardByteLimit
    }

    /// Packs a float student.
    ///
    /// - Throws: ``DecompositionError``, and `ModelFiles`' errors; the destination is then untouched.
    public func pack(
        student: Checkpoint,
        destination: URL,
        overwrite: Bool = false,
        progress: ProgressCallback = { _, _ in }
    ) throws {
        try student.require(.floatStudent)
        try convert(student, to: .packed, destination, overwrite: overwrite, progress) { linear, writer in
            let weight = try student.floats(of: linear.weightName)
            let signs = try naming(tensor: linear.weightName, of: student.directory) {
                try SignMatrix(signsOf: weight, rows: linear.outputs, columns: linear.inputs)
            }
            try signs.bytes.withUnsafeBytes { try writer.write(linear.weightName, bytes: $0) }
        }
    }

    /// Unpacks a packed checkpoint into a float student whose latent weights are 0.01 · sign.
    ///
    /// - Throws: ``DecompositionError``, and `ModelFiles`' errors; the destination is then untouched.
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
        try source.requireOutside(destination)
        let configuration = source.configuration
        let plan = configuration.tensorPlan(kind: kind, weightType: .float32, valueType: valueType) { _ in valueType }
        try StagedDirectory.write(to: destination, overwrite: overwrite) { directory in
            let writer = try CheckpointWriter(directory: directory, tensors: plan, shardByteLimit: shardByteLimit)
            let copy = { (name: String) in
                try writer.write(name, floats: source.floats(of: name))
                try source.releasePages(of: name)
            }
            let total = configuration.parameterCount
            var completed = 0
            for slot in configuration.tensorSlots {
                switch slot {
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
            quantization?.valueType = valueType
            try writeAtomically(
                configuration.jsonData(quantization: quantization),
                to: directory.appending(path: "config.json")
            )
            try source.copyAuxiliaryFiles(to: directory)
        }
    }
}

extension Checkpoint {
    /// The packed signs of one linear of a packed checkpoint.
    ///
    /// - Throws: ``DecompositionError`` naming the tensor, and `ModelFiles`' errors.
    public func signs(of linear: LinearDescription) throws -> SignMatrix {
        try naming(tensor: linear.weightName, of: directory) {
            try withUnsafeBytes(of: linear.weightName) {
                try SignMatrix(packed: $0, rows: linear.outputs, columns: linear.inputs)
            }
        }
    }
}
