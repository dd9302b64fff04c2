import Foundation
import ResumableRuns
import TensorFiles
import Torch

/// One rank's part of a training checkpoint: a safetensors file with a tensor `PARAMETER/STATE` per tensor of the optimizer's
/// state, whose rows begin in the whole parameter where the header's metadata say: `{"PARAMETER": "FIRST"}`.
struct ShardFile: Sendable {
    private let name: String
    private let metadata: [String: String]
    /// The optimizer's own storage, which it must not change before it is read.
    private let tensors: [(description: TensorDescription, tensor: Tensor)]

    init(rank: Int, of size: Int, parameters: [TrainedParameter], state: [ShardedOptimizer.StateRows]) {
        name = Self.name(rank, of: size)
        var metadata: [String: String] = [:]
        tensors = state.filter { $0.tensor.elementCount > 0 }.map { part in
            let parameter = parameters[part.parameter]
            metadata[parameter.name] = String(part.rows.lowerBound)
            let description = TensorDescription(
                name: "\(parameter.name)/\(part.name)", elementType: part.tensor.dtype.elementType,
                shape: part.tensor.shape)
            return (description, part.tensor)
        }
        self.metadata = metadata
    }

    fileprivate static func name(_ rank: Int, of size: Int) -> String {
        func fiveDigits(_ number: Int) -> String { String(String(100_000 + number).dropFirst()) }
        return "rank-\(fiveDigits(rank))-of-\(fiveDigits(size)).safetensors"
    }

    /// - Parameter didRead: Called once the state may change again.
    /// - Throws: `FileError`.
    func write(to directory: URL, didRead: () -> Void) throws {
        try SafetensorsFile.write(
            to: directory.appending(path: name), tensors: tensors.map(\.description), metadata: metadata
        ) { index, body in
            let tensor = tensors[index].tensor
            try tensor.converted(to: tensor.dtype, device: .cpu).withUnsafeBytes(body)
            if index == tensors.count - 1 { didRead() }
        }
    }
}

/// The files of a training checkpoint, by all ranks that wrote it.
struct ShardFiles {
    private let directory: URL
    private let files: [SafetensorsFile]

    /// - Throws: `RunError.damagedState` where one is missing, and what opening throws.
    init(in directory: URL, count: Int) throws {
        self.directory = directory
        guard (1...99_999).contains(count) else {
            throw RunError.damagedState(directory: directory, reason: "state.json: \(count) files")
        }
        files = try (0..<count).map { rank in
            let name = ShardFile.name(rank, of: count)
            let url = directory.appending(path: name)
            guard FileManager.default.fileExists(atPath: url.path) else {
                throw RunError.damagedState(directory: directory, reason: "\(name) is missing")
            }
            return try SafetensorsFile(contentsOf: url)
        }
    }

    /// Rows of a tensor of the state, put together from the files that have some.
    ///
    /// - Parameter wanted: Which rows, in which type and shape.
    /// - Throws: `RunError.damagedState` where some are missing, or of another type or
    ///   shape.
    func rows(_ wanted: ShardedOptimizer.StateRows, of parameter: TrainedParameter) throws -> Tensor {
        try checkCancellation()
        let name = "\(parameter.name)/\(wanted.name)"
        let (dtype, shape) = (wanted.tensor.dtype, wanted.tensor.shape)
        func damaged(_ reason: String) -> RunError {
            .damagedState(directory: directory, reason: "\(name): \(reason)")
        }
        let rowBytes = shape.dropFirst().reduce(1, *) * dtype.byteWidth
        // The files' rows follow one another, from the first of the parameter to its last.
        var end = 0
        var bytes = [UInt8](repeating: 0, count: wanted.rows.count * rowBytes)
        for file in files {
            guard let tensor = file.tensors[name] else { continue }
            guard tensor.elementType == dtype.elementType, tensor.shape.count == shape.count,
                tensor.shape.dropFirst().elementsEqual(shape.dropFirst())
            else {
                throw damaged(
                    "\(tensor.elementType.rawValue) \(tensor.shape), expected \(dtype.elementType.rawValue) rows of "
                        + "\(Array(shape.dropFirst()))")
            }
            guard let first = file.metadata[parameter.name].flatMap({ Int($0) }), first == end,
                tensor.shape[0] <= parameter.rows - first
            else { throw damaged("rows of two files do not follow one another") }
            end += tensor.shape[0]
            let common = wanted.rows.clamped(to: first..<first + tensor.shape[0])
            if common.isEmpty { continue }
            try file.withUnsafeBytes(of: name) { source in
                let part = source[(common.lowerBound - first) * rowBytes..<(common.upperBound - first) * rowBytes]
                let place = (common.lowerBound - wanted.rows.lowerBound) * rowBytes
                bytes.withUnsafeMutableBytes { $0[place..<place + part.count].copyBytes(from: part) }
            }
            file.releasePages(of: name)
        }
        guard end == parameter.rows else { throw damaged("\(end) of \(parameter.rows) rows") }
        return try bytes.withUnsafeBytes { try Tensor.elements($0, shape: shape, dtype: dtype) }
    }
}

extension DType {
    /// How a file stores it.
    fileprivate var elementType: ElementType {
        switch self {
        case .float32: .float32
        case .float16: .float16
        case .bfloat16: .bfloat16
        case .int64: .int64
        case .uint8: .uint8
        }
    }
}
