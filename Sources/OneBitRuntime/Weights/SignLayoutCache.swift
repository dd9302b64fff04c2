import CSignKernels
import Foundation
import JSON
import ModelDescription
import Synchronization
import TensorFiles

/// The sign matrices of a checkpoint in the order that the kernels want, kept in a file beside it:
/// `.onebit/LAYOUT.safetensors`.
///
/// The file is derived, so it is never trusted: it must be of this layout, made from the very files that the checkpoint
/// has now, have every matrix at its size, and match its checksums; otherwise it is made anew. Where none can be written
/// the matrices are kept in memory.
struct SignLayoutCache {
    /// Bytes under one checksum, so that several threads can check.
    private static let pieceSize = 16 << 20
    private static let format = "onebit-sign-layout-v1"

    let checkpoint: Checkpoint
    let layout: SignLayout
    let team: Team

    private var linears: [LinearDescription] { checkpoint.configuration.linears }
    var url: URL {
        checkpoint.directory.appending(path: ".onebit", directoryHint: .isDirectory)
            .appending(path: "\(layout.name).safetensors")
    }

    /// The matrices of all linears, in the configuration's order.
    ///
    /// - Parameter report: told when a file is made, and why; and when none can be.
    /// - Throws: `CheckpointError`, ``RuntimeError/outOfMemory(bytes:)``
    func load(policy: SignLayoutPolicy, report: (LoadEvent) -> Void) throws -> [PackedSigns] {
        guard policy == .file else { return try packInMemory() }
        if FileManager.default.fileExists(atPath: url.path) {
            do {
                return try open()
            } catch {
                report(.rebuildingLayout(file: url.path, reason: error.localizedDescription))
            }
        } else {
            report(.buildingLayout(file: url.path))
        }
        do {
            try writeFile()
            return try open()
        } catch let error as FileError {
            report(.layoutNotKept(file: url.path, reason: error.localizedDescription))
            return try packInMemory()
        }
    }

    // MARK: Reading

    private func open() throws -> [PackedSigns] {
        let file = try SafetensorsFile(contentsOf: url)
        let expected = metadata(checksums: file.metadata["checksums"] ?? "")
        for (key, value) in expected.sorted(by: { $0.key < $1.key }) where file.metadata[key] != value {
            throw SignLayoutError.stale(key: key)
        }
        let tensors = try descriptions.map { description in
            guard file.tensors[description.name] == description else {
                throw SignLayoutError.wrongTensor(name: description.name)
            }
            return try file.mapped(description.name)
        }
        guard file.tensors.count == tensors.count else { throw SignLayoutError.unexpectedTensors }
        try file.withUnsafeDataBytes { data in
            guard checksums(of: data) == file.metadata["checksums"] else { throw SignLayoutError.damaged }
        }
        return zip(linears, tensors).map { linear, tensor in
            PackedSigns(
                rows: linear.outputs, columns: linear.inputs,
                bytes: tensor.bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), owner: file)
        }
    }

    // MARK: Making

    private func writeFile() throws {
        let directory = url.deletingLastPathComponent()
        do {
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        } catch {
            throw FileError.cannotWrite(file: directory.path, neededBytes: nil, reason: error.localizedDescription)
        }
        let byteCount = descriptions.reduce(0) { $0 + $1.byteCount }
        let pieces = (byteCount + Self.pieceSize - 1) / Self.pieceSize
        let file = try InPlaceSafetensors(
            destination: url, tensors: descriptions,
            metadata: metadata(checksums: String(repeating: "0", count: 16 * pieces)),
            alignment: Int(SIGN_KERNELS_ALIGNMENT))
        try pack { UnsafeMutableRawPointer(file.bytes(at: $0).baseAddress!).assumingMemoryBound(to: UInt8.self) }
        try file.commit(metadata: metadata(checksums: checksums(of: UnsafeRawBufferPointer(file.data))))
    }

    private func packInMemory() throws -> [PackedSigns] {
        let buffers = try descriptions.map { try Buffer<UInt8>(count: $0.byteCount) }
        try pack { buffers[$0].pointer }
        return zip(linears, buffers).map { linear, buffer in
            PackedSigns(rows: linear.outputs, columns: linear.inputs, bytes: buffer.pointer, owner: buffer)
        }
    }

    private func pack(to target: (Int) -> UnsafeMutablePointer<UInt8>) throws {
        for (index, linear) in linears.enumerated() {
            let signs = try checkpoint.mapped(linear.weightName)
            let matrix = sign_kernels_matrix(
                bits: signs.bytes.baseAddress!.assumingMemoryBound(to: UInt8.self),
                bytes_per_row: linear.packedBytesPerRow, rows: linear.outputs, columns: linear.inputs)
            let packed = target(index)
            team.run(
                LoopTask(count: layout.tileCount(rows: linear.outputs)) { layout.pack(matrix, tiles: $0, to: packed) })
            // The source is not needed again: a model so takes its size once, not twice.
            try checkpoint.releasePages(of: linear.weightName)
        }
    }

    // MARK: Description

    private var descriptions: [TensorDescription] {
        linears.map {
            TensorDescription(
                name: $0.weightName, elementType: .uint8,
                shape: [layout.byteCount(rows: $0.outputs, columns: $0.inputs)])
        }
    }

    private func metadata(checksums: String) -> [String: String] {
        ["format": Self.format, "layout": layout.name, "source": checkpoint.identity, "checksums": checksums]
    }

    /// One of 16 hexadecimal digits for every piece of the data.
    private func checksums(of data: UnsafeRawBufferPointer) -> String {
        let pieces = (data.count + Self.pieceSize - 1) / Self.pieceSize
        let bytes = data.baseAddress!.assumingMemoryBound(to: UInt8.self)
        let results = Mutex([UInt64](repeating: 0, count: pieces))
        team.run(
            LoopTask(count: pieces) { range in
                for piece in range {
                    let start = piece * Self.pieceSize
                    let sum = sign_kernels_checksum(bytes + start, min(Self.pieceSize, data.count - start))
                    results.withLock { $0[piece] = sum }
                }
            })
        return results.withLock { sums in
            sums.map { sum in
                let digits = String(sum, radix: 16)
                return String(repeating: "0", count: 16 - digits.count) + digits
            }.joined()
        }
    }
}

/// One loop over a team.
private final class LoopTask: TeamTask {
    private let count: Int
    private let body: (Range<Int>) -> Void

    init(count: Int, body: @escaping (Range<Int>) -> Void) {
        self.count = count
        self.body = body
    }

    func run(as member: inout Team.Member) {
        member.forEach(count, body)
    }
}

/// Why a file of laid out signs is not used.
enum SignLayoutError: LocalizedError {
    case stale(key: String)
    case wrongTensor(name: String)
    case unexpectedTensors
    case damaged

    var errorDescription: String? {
        switch self {
        case .stale("source"): "the checkpoint has changed since"
        case .stale(let key): "its \"\(key)\" is of another version"
        case .wrongTensor(let name): "tensor \"\(name)\" is missing or of the wrong size"
        case .unexpectedTensors: "it holds tensors that the checkpoint does not have"
        case .damaged: "its checksum is wrong"
        }
    }
}
