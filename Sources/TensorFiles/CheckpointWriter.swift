import Foundation
import JSON

/// Writes a checkpoint's tensors as they come, one at a time, in the order of a plan made beforehand.
///
/// No tensor is kept: memory is that of a conversion buffer. A writer that fails, or is released before ``finish()``,
/// removes its files. It writes weights and index only; `config.json` is the caller's.
public final class CheckpointWriter {
    /// Hugging Face's usual limit per file.
    public static let defaultShardByteLimit = 5_000_000_000

    /// Bytes that the checkpoint's files will take.
    public let byteCount: Int

    private let directory: URL
    private let plans: [ShardPlan]
    private let tensorByteCount: Int
    private var shard = 0
    private var tensor = 0
    private var file: OutputFile?
    private var finished = false

    /// Plans the files and checks that they fit on the volume; creates nothing yet.
    ///
    /// - Parameters:
    ///   - directory: where the files go; it exists.
    ///   - tensors: names, types and shapes in the order in which they will be written.
    ///   - metadata: the header's `__metadata__`; `format: pt` is what transformers looks for.
    ///   - shardByteLimit: data bytes per file.
    /// - Throws: ``CheckpointWriterError``, `FileError.notEnoughSpace(directory:neededBytes:availableBytes:)`.
    public init(
        directory: URL,
        tensors: [TensorDescription],
        metadata: [String: String] = ["format": "pt"],
        shardByteLimit: Int = CheckpointWriter.defaultShardByteLimit
    ) throws {
        self.directory = directory
        var names = Set<String>()
        var total = 0
        for tensor in tensors {
            guard names.insert(tensor.name).inserted, tensor.name != "__metadata__" else {
                throw CheckpointWriterError.duplicateTensor(file: directory.path, tensor: tensor.name)
            }
            guard let bytes = tensor.checkedByteCount, bytes < Int.max / 4 - total else {
                throw CheckpointWriterError.sizeOverflow(
                    file: directory.path,
                    tensor: tensor.name,
                    shape: tensor.shape
                )
            }
            total += bytes
        }
        tensorByteCount = total
        plans = ShardPlan.plans(tensors: tensors, metadata: metadata, byteLimit: shardByteLimit)
        byteCount = plans.reduce(0) { $0 + $1.byteCount }
        if let available = availableBytes(at: directory.path), available < byteCount {
            throw FileError.notEnoughSpace(
                directory: directory.path,
                neededBytes: byteCount,
                availableBytes: available
            )
        }
    }

    deinit {
        if !finished { removeFiles() }
    }

    /// Writes the next tensor of the plan, converted to the planned element type (round to nearest even).
    ///
    /// - Throws: ``CheckpointWriterError``, ``TensorFileError/nonFinite(file:tensor:index:found:)``, `FileError`.
    public func write(_ name: String, floats: [Float]) throws {
        let (description, offset) = try next(name)
        let path = currentPath
        guard description.elementType.isFloat else {
            throw CheckpointWriterError.notFloat(file: path, tensor: name, planned: description.elementType)
        }
        guard floats.count == description.elementCount else {
            throw CheckpointWriterError.wrongCount(
                file: path,
                tensor: name,
                expected: description.elementCount,
                found: floats.count
            )
        }
        if let index = FloatConversion.firstNonFinite(floats) {
            throw TensorFileError.nonFinite(file: path, tensor: name, index: index, found: floats[index])
        }
        var position = offset
        let outOfRange = try floats.withUnsafeBufferPointer { values in
            try FloatConversion.store(values, as: description.elementType) { bytes in
                try put(bytes, at: position)
                position += bytes.count
            }
        }
        if let index = outOfRange {
            throw CheckpointWriterError.valueOutOfRange(
                file: path,
                tensor: name,
                index: index,
                value: floats[index],
                elementType: description.elementType
            )
        }
        try advance()
    }

    /// Writes the next tensor of the plan from bytes in its planned element type, little-endian.
    ///
    /// - Throws: ``CheckpointWriterError``, `FileError`.
    public func write(_ name: String, bytes: UnsafeRawBufferPointer) throws {
        let (description, offset) = try next(name)
        guard bytes.count == description.byteCount else {
            throw CheckpointWriterError.wrongCount(
                file: currentPath,
                tensor: name,
                expected: description.elementCount,
                found: bytes.count / description.elementType.byteWidth
            )
        }
        try put(bytes, at: offset)
        try advance()
    }

    /// Writes everything to the disk, and writes the index when there are several files.
    ///
    /// - Throws: ``CheckpointWriterError/incomplete(file:missing:)``, `FileError`.
    public func finish() throws {
        if shard < plans.count, tensor < plans[shard].offsets.count {
            throw CheckpointWriterError.incomplete(
                file: currentPath,
                missing: plans[shard].offsets[tensor].tensor.name
            )
        }
        if shard < plans.count { try closeShard() }
        if plans.count > 1 { try writeIndex() }
        try synchronizeDirectory(directory.path)
        finished = true
    }

    private var currentPath: String {
        directory.appending(path: plans[min(shard, plans.count - 1)].name).path
    }

    private func next(_ name: String) throws -> (TensorDescription, Int) {
        guard shard < plans.count, tensor < plans[shard].offsets.count else {
            throw CheckpointWriterError.outOfOrder(file: currentPath, expected: nil, found: name)
        }
        let planned = plans[shard].offsets[tensor]
        guard planned.tensor.name == name else {
            throw CheckpointWriterError.outOfOrder(file: currentPath, expected: planned.tensor.name, found: name)
        }
        return (planned.tensor, planned.offset)
    }

    private func put(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        do {
            try openShard().write(bytes, at: offset)
        } catch {
            removeFiles()
            throw error
        }
    }

    private func openShard() throws -> OutputFile {
        if let file { return file }
        let opened = try OutputFile(path: currentPath, neededBytes: plans[shard].byteCount)
        try plans[shard].header.withUnsafeBytes { try opened.write($0, at: 0) }
        file = opened
        return opened
    }

    private func advance() throws {
        tensor += 1
        if tensor == plans[shard].offsets.count { try closeShard() }
    }

    private func closeShard() throws {
        do {
            try openShard().finish()
        } catch {
            removeFiles()
            throw error
        }
        file = nil
        shard += 1
        tensor = 0
    }

    /// Removes the files of an unfinished checkpoint.
    private func removeFiles() {
        file?.abandon()
        file = nil
        for plan in plans.prefix(shard) { removeIfRegular(directory.appending(path: plan.name).path) }
    }

    private func writeIndex() throws {
        var weightMap = JSONObject()
        for plan in plans {
            for entry in plan.offsets { weightMap[entry.tensor.name] = .string(plan.name) }
        }
        let index = JSONObject([
            ("metadata", .object(JSONObject([("total_size", .integer(tensorByteCount))]))),
            ("weight_map", .object(weightMap)),
        ])
        let text = JSONValue.object(index).serialized(indentation: 2) + "\n"
        try writeAtomically(Data(text.utf8), to: directory.appending(path: ShardIndex.safetensors.indexName))
    }
}

/// A call of a writer that its plan, or the element type, does not allow.
public enum CheckpointWriterError: LocalizedError, Sendable, Equatable {
    /// The plan has two tensors of one name.
    case duplicateTensor(file: String, tensor: String)
    /// The plan has a shape whose size does not fit in 64 bits.
    case sizeOverflow(file: String, tensor: String, shape: [Int])
    /// Another tensor is next in the plan; nil: the plan is done.
    case outOfOrder(file: String, expected: String?, found: String)
    /// More or fewer elements or bytes than planned.
    case wrongCount(file: String, tensor: String, expected: Int, found: Int)
    /// Floats for a tensor planned as integers.
    case notFloat(file: String, tensor: String, planned: ElementType)
    /// A value that the planned element type cannot hold.
    case valueOutOfRange(file: String, tensor: String, index: Int, value: Float, elementType: ElementType)
    /// `finish` before every tensor was written.
    case incomplete(file: String, missing: String)

    public var errorDescription: String? {
        switch self {
        case .duplicateTensor(let file, let tensor):
            "\(file): tensor \"\(tensor)\" is planned twice."
        case .sizeOverflow(let file, let tensor, let shape):
            "\(file): tensor \"\(tensor)\": the size of shape \(shape) does not fit in 64 bits."
        case .outOfOrder(let file, let expected, let found):
            "\(file): \(expected.map { "tensor \"\($0)\"" } ?? "nothing more") was to be written next, "
                + "found \"\(found)\"."
        case .wrongCount(let file, let tensor, let expected, let found):
            "\(file): tensor \"\(tensor)\" takes \(expected) elements, found \(found)."
        case .notFloat(let file, let tensor, let planned):
            "\(file): tensor \"\(tensor)\" is planned as \(planned.rawValue), found floats."
        case .valueOutOfRange(let file, let tensor, let index, let value, let elementType):
            "\(file): tensor \"\(tensor)\": element \(index) is \(value), which \(elementType.rawValue) cannot hold. "
                + "Write it as F32."
        case .incomplete(let file, let missing):
            "\(file): the tensor \"\(missing)\" was planned and never written."
        }
    }
}
