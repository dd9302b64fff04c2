import Foundation
import JSON
import ModelFiles
import TensorFiles

/// A model directory in Hugging Face layout: `config.json` and memory-mapped weights, safetensors or PyTorch's; or a GGUF file,
/// which is read as the directory that it stands for.
///
/// Opening reads the configuration and the headers, milliseconds for any model, and checks that the tensors are those
/// that the configuration calls for: every name, shape and element type.
public final class Checkpoint: Sendable {
    /// Where it lies: a directory, or a GGUF file.
    public let directory: URL
    /// Its `config.json`.
    public let configuration: ModelConfiguration
    /// Its tensors by name; those that the model does not compute with are left out.
    public let tensors: [String: TensorDescription]
    /// By the tensor's name: the file that holds it, and its name there.
    private let locations: [String: (file: any TensorFile, name: String)]
    private let files: [String: any TensorFile]

    /// Opens and checks a checkpoint.
    ///
    /// - Parameters:
    ///   - directory: in Hugging Face layout, or a GGUF file.
    ///   - unknownKeys: what to do about keys of `config.json` that this version does not know.
    /// - Throws: ``CheckpointError``, ``ConfigurationError``, `JSONNodeError`, `TensorFileError`, `SafetensorsError`,
    ///   `PyTorchError`, `GGUFError` or `FileError`.
    public init(directory: URL, unknownKeys: UnknownKeys = .refused) throws {
        self.directory = directory
        let config = directory.appending(path: "config.json")
        guard try ModelFile.exists(config) else {
            guard FileManager.default.fileExists(atPath: directory.path) else {
                throw FileError.cannotRead(file: directory.path, reason: "no such file or directory")
            }
            throw CheckpointError.notACheckpoint(directory: directory.path, missing: "config.json")
        }
        let configuration = try ModelConfiguration(contentsOf: config, unknownKeys: unknownKeys)
        let index =
            try ModelFile.isFile(directory)
            ? ShardIndex(files: GGUFModel(contentsOf: directory).tensorFiles())
            : ShardIndex(directory: directory, ignores: configuration.ignores)
        var tensors: [String: TensorDescription] = [:]
        var locations: [String: (file: any TensorFile, name: String)] = [:]
        let fused = configuration.fusedLinears
        let files =
            try fused.isEmpty
            ? index.files : index.files.mapValues { try Self.split($0, fused, configuration, directory) }
        for (stored, shard) in index.shardOfTensor {
            let parts = fused[configuration.canonicalName(stored)]?.map(\.weightName)
            for stored in parts ?? [stored] {
                guard let file = files[shard], let found = file.tensors[stored] else { continue }
                let name = configuration.canonicalName(stored)
                if configuration.ignores(name) { continue }
                if let other = locations.updateValue((file, stored), forKey: name) {
                    let names = [other.name, stored].sorted()
                    throw CheckpointError.sameTensorTwice(directory: directory.path, tensor: names[0], other: names[1])
                }
                tensors[name] = TensorDescription(name: name, elementType: found.elementType, shape: found.shape)
            }
        }
        self.configuration = configuration
        self.files = files
        self.locations = locations
        self.tensors = tensors
        try checkTensors()
    }

    /// A file of a family that stores several matrices as one, with these by themselves.
    private static func split(
        _ file: any TensorFile, _ fused: [String: [LinearDescription]], _ configuration: ModelConfiguration,
        _ directory: URL
    ) throws -> any TensorFile {
        try SplitTensorFile(file) { tensor in
            guard let linears = fused[configuration.canonicalName(tensor.name)] else { return nil }
            let expected = [linears.reduce(0) { $0 + $1.outputs }] + tensor.shape.dropFirst()
            guard tensor.shape == expected else {
                throw CheckpointError.wrongShape(
                    directory: directory.path, tensor: tensor.name, expected: expected, found: tensor.shape)
            }
            return linears.map { ($0.weightName, $0.outputs) }
        }
    }

    /// What the linear layers are stored as.
    public var kind: CheckpointKind { configuration.kind }

    /// Stored bytes of all tensors.
    public var byteCount: Int { tensors.values.reduce(0) { $0 + $1.byteCount } }

    /// What tells its weight files from others without reading all of them: size, time of the last change and samples.
    ///
    /// Something derived from the weights keeps it, and is up to date where it is equal. Where it is not, the files may still
    /// be copies with the same contents.
    package var identity: String {
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
        let location = try location(of: name)
        return try location.file.withUnsafeBytes(of: location.name, body)
    }

    /// A float tensor's values, in memory of their own; those that 8 bits and the scales of the rows stand for, where an
    /// embedding or output projection is stored so.
    ///
    /// - Throws: `TensorFileError.notFloat(file:tensor:found:)`,
    ///   `TensorFileError.nonFinite(file:tensor:index:found:)` on NaN or infinity.
    public func floats(of name: String) throws -> [Float] {
        let location = try location(of: name)
        guard let matrix = int8Matrices[name] else { return try location.file.floats(of: location.name) }
        let scales = try floats(of: matrix.rowScale.name)
        let columns = matrix.shape[1]
        return try withUnsafeBytes(of: name) { bytes in
            [Float](unsafeUninitializedCapacity: bytes.count) { values, count in
                for (row, scale) in scales.enumerated() {
                    for index in row * columns..<(row + 1) * columns {
                        values[index] = Float(Int8(bitPattern: bytes[index])) * scale
                    }
                }
                count = bytes.count
            }
        }
    }

    /// Embedding and output projection where they are stored in 8 bits, by name.
    package var int8Matrices: [String: TensorShape] {
        guard configuration.quantization?.embeddingFormat == .int8 else { return [:] }
        return Dictionary(uniqueKeysWithValues: configuration.embeddingTensors.map { ($0.name, $0) })
    }

    /// A tensor's bytes where they are mapped, for as long as the caller keeps them.
    ///
    /// - Throws: ``CheckpointError/missingTensor(directory:tensor:)``.
    package func mapped(_ name: String) throws -> MappedTensor {
        let location = try location(of: name)
        return try location.file.mapped(location.name)
    }

    /// Bytes of the tensors that a model which is in use has in memory of its own and not where they are mapped: those that
    /// their files store in another form.
    package var convertedByteCount: Int {
        locations.reduce(0) { bytes, entry in
            bytes + (entry.value.file.isConverted(entry.value.name) ? tensors[entry.key]?.byteCount ?? 0 : 0)
        }
    }

    /// What a tensor is stored as, such as `Q4_K`, and its bytes in the file.
    ///
    /// - Throws: ``CheckpointError/missingTensor(directory:tensor:)``.
    public func storage(of name: String) throws -> (type: String, byteCount: Int) {
        let (description, location) = (try description(of: name), try location(of: name))
        if let stored = (location.file as? GGUFTensors)?.stored[location.name] {
            return (stored.type.name, stored.byteCount)
        }
        return (description.elementType.rawValue, description.byteCount)
    }

    /// Lets the system drop a tensor's pages from memory until they are touched again.
    ///
    /// So a pass over a model keeps no more than the present tensor.
    package func releasePages(of name: String) throws {
        let location = try location(of: name)
        location.file.releasePages(of: location.name)
    }

    /// Checks that this is a checkpoint of the kind that a stage works on.
    ///
    /// - Throws: ``CheckpointError/wrongKind(directory:expected:found:)``.
    public func require(_ expected: CheckpointKind) throws {
        guard kind == expected else {
            throw CheckpointError.wrongKind(directory: directory.path, expected: expected, found: kind)
        }
    }

    private func location(of name: String) throws -> (file: any TensorFile, name: String) {
        guard let location = locations[name] else {
            throw CheckpointError.missingTensor(directory: directory.path, tensor: name)
        }
        return location
    }

    private func checkTensors() throws {
        // The plan's element types mean "float" or "int8"; only that is compared.
        let plan = configuration.tensorPlan(
            kind: kind, weightType: .float32, valueType: .float32,
            embeddingFormat: configuration.quantization?.embeddingFormat ?? .float
        ) { _ in .float32 }
        let int8Matrices = int8Matrices
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
            // Bits are the same in a signed byte and in an unsigned one; numbers are not.
            let (fits, expected) =
                switch (planned.elementType.isFloat, int8Matrices[planned.name] != nil) {
                case (true, _): (found.elementType.isFloat, "F32, F16 or BF16")
                case (false, true): (found.elementType == .int8, "I8")
                case (false, false): (found.elementType.byteWidth == 1, "I8 or U8")
                }
            guard fits else {
                throw CheckpointError.wrongElementType(
                    directory: directory.path, tensor: planned.name, expected: expected, found: found.elementType)
            }
        }
        if let name = tensors.keys.filter({ !expected.contains($0) }).min() {
            let isScale = name.hasSuffix(".weight_scale") || name.hasSuffix(".input_factor")
            throw CheckpointError.unexpectedTensor(
                directory: directory.path,
                tensor: locations[name]?.name ?? name,
                hint: isScale && kind == .dense ? " (a OneBit checkpoint needs \"quantization_config\" there)" : ""
            )
        }
    }
}

extension Checkpoint {
    /// Checks that the input scales that the configuration calls shared are the same.
    ///
    /// - Throws: ``CheckpointError/inputScalesDiffer(directory:tensor:other:)``, and what reading throws.
    package func requireSharedInputScales() throws {
        guard configuration.quantization?.inputScales == .shared else { return }
        let groups = HeadGroups(configuration)
        for layer in 0..<configuration.layerCount {
            let block = configuration.block(layer)
            for group in block.inputGroups {
                let first = try floats(of: group[0].inputScaleName)
                for other in group.dropFirst() where try floats(of: other.inputScaleName) != first {
                    throw CheckpointError.inputScalesDiffer(
                        directory: directory.path, tensor: other.inputScaleName, other: group[0].inputScaleName)
                }
                if group == [block.output], first != groups.repeated(groups.first(of: first)) {
                    let name = block.output.inputScaleName
                    throw CheckpointError.inputScalesDiffer(directory: directory.path, tensor: name, other: name)
                }
            }
        }
    }

    /// Files beside the weights that belong to the model and travel with it: tokenizer, chat template, generation
    /// settings, license. Not `config.json`, which every stage writes itself.
    package static let auxiliaryFileNames = [
        "generation_config.json", "tekken.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
        "chat_template.json", "LICENSE", "LICENSE.txt", "USE_POLICY.md",
    ]

    /// Those of the auxiliary files that this checkpoint has.
    ///
    /// - Throws: `GGUFError`, `FileError`.
    package func auxiliaryFiles() throws -> [URL] {
        try Self.auxiliaryFileNames.map { directory.appending(path: $0) }.filter(ModelFile.exists)
    }

    /// Copies the auxiliary files into another directory, or writes those that a GGUF file stands for; links are followed, as the
    /// Hub's cache is made of them.
    ///
    /// - Throws: `GGUFError`, `FileError`.
    package func copyAuxiliaryFiles(to target: URL) throws {
        for file in try auxiliaryFiles() {
            try writeAtomically(
                try ModelFile.contents(of: file, limit: 1 << 30),
                to: target.appending(path: file.lastPathComponent)
            )
        }
    }

    /// Checks that an output does not replace this checkpoint: its directory, or one that holds it.
    ///
    /// - Throws: `FileError.destinationIsSource`.
    package func validateOutput(_ destination: URL) throws {
        let source = directory.resolvingSymlinksInPath().standardizedFileURL.pathComponents
        let target = destination.absoluteURL.resolvingSymlinksInPath().standardizedFileURL.pathComponents
        // Replacing the source itself or a folder above it would destroy what is being read.
        guard !source.starts(with: target) else {
            throw FileError.destinationIsSource(path: destination.path)
        }
    }
}

/// What is wrong with a checkpoint directory, or with what is asked of it.
public enum CheckpointError: LocalizedError, Sendable, Equatable {
    /// There is no such directory, or it has no `config.json`.
    case notACheckpoint(directory: String, missing: String)
    /// The configuration calls for a tensor that is not there.
    case missingTensor(directory: String, tensor: String)
    /// One tensor of the model under two names, with and without the model's prefix.
    case sameTensorTwice(directory: String, tensor: String, other: String)
    /// A tensor that the configuration does not account for.
    case unexpectedTensor(directory: String, tensor: String, hint: String)
    /// A tensor of another shape than the configuration gives it.
    case wrongShape(directory: String, tensor: String, expected: [Int], found: [Int])
    /// A tensor of another element type than the model needs.
    case wrongElementType(directory: String, tensor: String, expected: String, found: ElementType)
    /// Input scales that `config.json` says layers or query heads share are not the same.
    case inputScalesDiffer(directory: String, tensor: String, other: String)
    /// A stage got a checkpoint of another kind than it works on.
    case wrongKind(directory: String, expected: CheckpointKind, found: CheckpointKind)

    public var errorDescription: String? {
        switch self {
        case .notACheckpoint(let directory, let missing):
            "\(directory): expected a Hugging Face model directory or a GGUF file, but there is no \(missing)."
        case .missingTensor(let directory, let tensor):
            "\(directory): config.json calls for the tensor \"\(tensor)\", which is not there."
        case .sameTensorTwice(let directory, let tensor, let other):
            "\(directory): \"\(tensor)\" and \"\(other)\" are the same tensor of the model. Remove one."
        case .unexpectedTensor(let directory, let tensor, let hint):
            "\(directory): tensor \"\(tensor)\" is no part of the model that config.json describes\(hint)."
        case .wrongShape(let directory, let tensor, let expected, let found):
            "\(directory): tensor \"\(tensor)\": config.json gives it shape \(expected), found \(found)."
        case .wrongElementType(let directory, let tensor, let expected, let found):
            "\(directory): tensor \"\(tensor)\": expected \(expected), found \(found.rawValue)."
        case .inputScalesDiffer(let directory, let tensor, let other) where tensor == other:
            "\(directory): config.json says that the query heads of a group share \"\(tensor)\", but they differ in it."
        case .inputScalesDiffer(let directory, let tensor, let other):
            "\(directory): config.json says that \"\(tensor)\" and \"\(other)\" are the same, but they differ."
        case .wrongKind(let directory, let expected, let found):
            "\(directory) is \(found.article); expected \(expected.article)."
        }
    }
}
