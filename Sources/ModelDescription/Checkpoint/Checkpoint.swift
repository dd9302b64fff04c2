import Foundation
import TensorFiles

/// A model directory in Hugging Face layout: `config.json` and memory-mapped weights, safetensors or PyTorch's.
///
/// Opening reads the configuration and the headers, milliseconds for any model, and checks that the tensors are those
/// that the configuration calls for: every name, shape and element type.
public final class Checkpoint: Sendable {
    /// Where it lies.
    public let directory: URL
    /// Its `config.json`.
    public let configuration: ModelConfiguration
    /// Its tensors by name; those that the model does not compute with are left out.
    public let tensors: [String: TensorDescription]
    /// By the tensor's name: the file that holds it, and its name there.
    private let places: [String: (file: any TensorFile, name: String)]
    private let files: [String: any TensorFile]

    /// Opens and checks a checkpoint.
    ///
    /// - Throws: ``CheckpointError``, ``ConfigurationError``, ``SafetensorsError``, ``PyTorchError`` or ``FileError``.
    public init(directory: URL) throws {
        self.directory = directory
        let config = directory.appending(path: "config.json")
        guard FileManager.default.fileExists(atPath: config.path) else {
            throw CheckpointError.notACheckpoint(directory: directory.path, missing: "config.json")
        }
        let configuration = try ModelConfiguration(contentsOf: config)
        let index = try ShardIndex(directory: directory)
        var tensors: [String: TensorDescription] = [:]
        var places: [String: (file: any TensorFile, name: String)] = [:]
        for (stored, shard) in index.shardOfTensor where !configuration.ignores(stored) {
            guard let file = index.files[shard], let found = file.tensors[stored] else { continue }
            let name = configuration.canonicalName(stored)
            if let other = places.updateValue((file, stored), forKey: name) {
                let names = [other.name, stored].sorted()
                throw CheckpointError.sameTensorTwice(directory: directory.path, tensor: names[0], other: names[1])
            }
            tensors[name] = TensorDescription(name: name, elementType: found.elementType, shape: found.shape)
        }
        self.configuration = configuration
        self.files = index.files
        self.places = places
        self.tensors = tensors
        try checkTensors()
    }

    /// What the linear layers are stored as.
    public var kind: CheckpointKind { configuration.kind }

    /// Stored bytes of all tensors.
    public var byteCount: Int { tensors.values.reduce(0) { $0 + $1.byteCount } }

    /// Changes when one of the weight files is replaced or written to: what something derived from them keeps, to know
    /// whether it is stale.
    public var identity: String {
        files.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.identity)" }.joined(separator: "; ")
    }

    /// A tensor's type and shape.
    ///
    /// - Throws: ``CheckpointError/missingTensor(directory:tensor:)``.
    public func description(of name: String) throws -> TensorDescription {
        guard let description = tensors[name] else {
            throw CheckpointError.missingTensor(directory: directory.path, tensor: name)
        }
        return description
    }

    /// Calls `body` with a tensor's bytes, little-endian, at no particular alignment; valid during the call only.
    ///
    /// - Throws: ``CheckpointError/missingTensor(directory:tensor:)``, and what `body` throws.
    public func withUnsafeBytes<R>(of name: String, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        let place = try place(of: name)
        return try place.file.withUnsafeBytes(of: place.name, body)
    }

    /// A float tensor's values, in memory of their own.
    ///
    /// - Throws: ``TensorFileError/notFloat(file:tensor:found:)``,
    ///   ``TensorFileError/nonFinite(file:tensor:index:found:)`` on NaN or infinity.
    public func floats(of name: String) throws -> [Float] {
        let place = try place(of: name)
        return try place.file.floats(of: place.name)
    }

    /// A tensor's bytes where they are mapped, for as long as the caller keeps them.
    ///
    /// - Throws: ``CheckpointError/missingTensor(directory:tensor:)``.
    public func mapped(_ name: String) throws -> MappedTensor {
        let place = try place(of: name)
        return try place.file.mapped(place.name)
    }

    /// Lets the system drop a tensor's pages from memory until they are touched again.
    ///
    /// A walk over a model so keeps no more than the tensor at hand.
    public func releasePages(of name: String) throws {
        let place = try place(of: name)
        place.file.releasePages(of: place.name)
    }

    /// Stops a stage that got a checkpoint of the wrong kind.
    ///
    /// - Throws: ``CheckpointError/wrongKind(directory:expected:found:)``.
    public func require(_ expected: CheckpointKind) throws {
        guard kind == expected else {
            throw CheckpointError.wrongKind(directory: directory.path, expected: expected, found: kind)
        }
    }

    private func place(of name: String) throws -> (file: any TensorFile, name: String) {
        guard let place = places[name] else {
            throw CheckpointError.missingTensor(directory: directory.path, tensor: name)
        }
        return place
    }

    private func checkTensors() throws {
        // Element types of the plan stand for "float" or "int8"; only that is compared.
        let plan = configuration.tensorPlan(kind: kind, weightType: .float32, valueType: .float32) { _ in .float32 }
        var expected = Set<String>()
        for planned in plan {
            expected.insert(planned.name)
            guard let found = tensors[planned.name] else {
                throw CheckpointError.missingTensor(directory: directory.path, tensor: planned.name)
            }
            guard found.shape == planned.shape else {
                throw CheckpointError.wrongShape(
                    directory: directory.path,
                    tensor: planned.name,
                    expected: planned.shape,
                    found: found.shape
                )
            }
            let fits = planned.elementType.isFloat ? found.elementType.isFloat : found.elementType.byteWidth == 1
            guard fits else {
                throw CheckpointError.wrongElementType(
                    directory: directory.path,
                    tensor: planned.name,
                    expected: planned.elementType.isFloat ? "F32, F16 or BF16" : "I8 or U8",
                    found: found.elementType
                )
            }
        }
        if let name = tensors.keys.filter({ !expected.contains($0) }).min() {
            let isScale = name.hasSuffix(".weight_scale") || name.hasSuffix(".input_factor")
            throw CheckpointError.unexpectedTensor(
                directory: directory.path,
                tensor: places[name]?.name ?? name,
                hint: isScale && kind == .dense ? " (a OneBit checkpoint needs \"quantization_config\" there)" : ""
            )
        }
    }
}
