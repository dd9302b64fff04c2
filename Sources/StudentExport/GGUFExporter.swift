import Foundation
import JSON
import ModelDescription
import SignDecomposition
import TensorFiles

/// Writes a student as a GGUF file for llama.cpp and what is built on it.
///
/// A layer whose input scale folds away (`InputScaleFolding`) is ±h by rows, which is Q1_0 with the same scale in all blocks
/// of a row. A layer that keeps its input scale is written as the dense matrix that it is equal to.
public struct GGUFExporter: Sendable {
    /// Type of the layers that keep their input scales.
    public var denseType: GGUFTensorType
    /// Type of the embedding, and of an output projection of its own.
    public var embeddingType: GGUFTensorType

    public init(denseType: GGUFTensorType = .f16, embeddingType: GGUFTensorType = .f16) {
        self.denseType = denseType
        self.embeddingType = embeddingType
    }

    /// What was written.
    public struct Report: Sendable, Hashable {
        /// Layers in Q1_0.
        public let signLayers: Int
        /// All one-bit layers.
        public let layers: Int
        /// Bytes of the file.
        public let byteCount: Int
        /// Widths that were filled up with zeros, such as "hidden size 576 to 640".
        public let padding: [String]
        /// Why layers are not in Q1_0.
        public let reasons: [String]
    }

    /// - Parameters:
    ///   - student: A float student or a packed one, with its tokenizer.
    ///   - destination: The file to write; nothing is there until it is complete.
    ///   - overwrite: Whether a file that stands there is replaced.
    ///   - progress: Called after each tensor.
    /// - Throws: ``ExportError``, the errors of checkpoints, tokenizers and their files, `CancellationError`; the destination
    ///   is then untouched.
    public func export(
        _ student: Checkpoint, to destination: URL, overwrite: Bool = false, progress: ProgressCallback = { _, _ in }
    ) throws -> Report {
        try student.requireExportable()
        if !overwrite, FileManager.default.fileExists(atPath: destination.path) {
            throw FileError.destinationExists(path: destination.path)
        }
        var model = try GGUFStudent(student)
        // A student some of whose layers are dense anyway gains little by being filled up.
        if model.isFoldable { model.pad(toMultiplesOf: GGUFTensorType.q10.blockSize) }
        let plan = try model.plan(denseType: denseType, embeddingType: embeddingType)
        var metadata = try model.metadata(file: destination.path, type: model.isFoldable ? .q10 : denseType)
        try metadata.addTokenizer(of: student)
        let writer = try GGUFWriter(destination: destination, metadata: metadata, tensors: plan.map(\.tensor))
        try model.write(plan, to: writer) { try progress($0, student.configuration.parameterCount) }
        return Report(
            signLayers: plan.reduce(0) { $0 + ($1.tensor.type == .q10 ? $1.layerCount : 0) },
            layers: student.configuration.linears.count,
            byteCount: writer.byteCount, padding: model.padding, reasons: model.reasons(for: plan))
    }
}
