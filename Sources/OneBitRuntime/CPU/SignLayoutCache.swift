import CSignKernels
import Foundation
import JSON
import ModelDescription
import TensorFiles

/// The sign matrices of a checkpoint in the order that the kernels want, kept in a file in its directory:
/// `.onebit/LAYOUT.safetensors`; where that cannot be written, in the user's cache directory:
/// `layouts/KEY/LAYOUT.safetensors`.
///
/// The file is derived, so it is never trusted: it must be of this layout, made from the signs that the checkpoint has now,
/// have every matrix at its size, and match its checksums; otherwise it is made again.
///
/// Whether it was made from the same signs is decided by content. The file records a checksum of all signs (`source`), and
/// a `stamp`: a checksum of the weight files' sizes and modification times and of the first bytes of every matrix. An equal
/// stamp is enough, so a load does not read the whole checkpoint; a different one, after a copy that does not keep times
/// say, makes the load compare all signs once and, if they are the same, record the new stamp.
struct SignLayoutCache {
    /// Bytes under one checksum, so that several threads can check.
    private static let pieceSize = 16 << 20
    /// Bytes of every matrix that go into the stamp.
    private static let sampleSize = 4096
    private static let format = "onebit-sign-layout-v2"

    let checkpoint: Checkpoint
    let layout: SignLayout
    let pool: ThreadPool
    /// nil is none.
    let userCache: URL?

    private var linears: [LinearDescription] { checkpoint.configuration.linears }

    /// The matrices of all linears, in the configuration's order.
    ///
    /// - Parameter report: called when a file is made, with the reason; and when none can be.
    /// - Throws: `CheckpointError`, ``RuntimeError/outOfMemory(bytes:)``, `CancellationError`
    func load(policy: SignLayoutPolicy, report: (LoadEvent) -> Void) throws -> [PackedSigns] {
        guard policy == .file else { return try packInMemory() }
        let sample = try sampleChecksum()
        let files = candidates(sample: sample)
        let stamp = Self.hexadecimal(Self.combine([sample, Self.checksum(checkpoint.identity)]))
        var reasons: [URL: String] = [:]
        for file in files where FileManager.default.fileExists(atPath: file.path) {
            do {
                return try open(file, stamp: stamp)
            } catch let error as CancellationError {
                throw error
            } catch {
                reasons[file] = error.localizedDescription
            }
        }
        var failure = "its directory cannot be written"
        for file in files where Self.canBeWritten(file) {
            report(
                reasons[file].map { .rebuildingLayout(file: file.path, reason: $0) } ?? .buildingLayout(file: file.path)
            )
            do {
                try write(file, stamp: stamp)
                return try open(file, stamp: stamp)
            } catch let error as FileError {
                failure = error.localizedDescription
            }
        }
        report(.layoutNotKept(file: files[0].path, reason: failure))
        return try packInMemory()
    }

    // MARK: Places

    /// Where the file may be, best first.
    private func candidates(sample: UInt64) -> [URL] {
        let name = "\(layout.name).safetensors"
        let beside = checkpoint.directory.appending(path: ".onebit", directoryHint: .isDirectory)
        let shared = userCache?.appending(path: "layouts/\(Self.hexadecimal(sample))", directoryHint: .isDirectory)
        return [beside, shared].compactMap { $0?.appending(path: name) }
    }

    /// Whether a file's directory, or the nearest one above it that exists, can be written.
    private static func canBeWritten(_ file: URL) -> Bool {
        var directory = file.deletingLastPathComponent()
        var status = stat()
        while stat(directory.path, &status) != 0, errno == ENOENT, directory.path != "/" {
            directory.deleteLastPathComponent()
        }
        return status.st_mode & S_IFMT == S_IFDIR && access(directory.path, W_OK | X_OK) == 0
    }

    // MARK: Reading

    private func open(_ url: URL, stamp: String) throws -> [PackedSigns] {
        let file = try SafetensorsFile(contentsOf: url)
        for (key, value) in ["format": Self.format, "layout": layout.name] where file.metadata[key] != value {
            throw SignLayoutError.otherVersion(key: key)
        }
        let tensors = try descriptions.map { description in
            guard file.tensors[description.name] == description else {
                throw SignLayoutError.wrongTensor(name: description.name)
            }
            return try file.mapped(description.name)
        }
        guard file.tensors.count == tensors.count else { throw SignLayoutError.unexpectedTensors }
        let isStampNew = file.metadata["stamp"] != stamp
        if isStampNew, try Self.hexadecimal(sourceChecksum()) != file.metadata["source"] { throw SignLayoutError.stale }
        try file.withUnsafeDataBytes { data in
            guard try checksums(of: data).map(Self.hexadecimal).joined() == file.metadata["checksums"] else {
                throw SignLayoutError.damaged
            }
        }
        if isStampNew { Self.replaceStamp(file.metadata["stamp"] ?? "", by: stamp, in: url) }
        return zip(linears, tensors).map { linear, tensor in
            PackedSigns(
                rows: linear.outputs, columns: linear.inputs,
                bytes: tensor.bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), owner: file)
        }
    }

    /// Records a new stamp in a file's header, if it can be written; if not the next load compares all signs again.
    private static func replaceStamp(_ old: String, by new: String, in url: URL) {
        guard old.utf8.count == new.utf8.count, let file = try? FileHandle(forUpdating: url) else { return }
        defer { try? file.close() }
        guard let start = try? file.read(upToCount: 1 << 20),
            let member = start.range(of: Data("\"stamp\":\"\(old)\"".utf8))
        else { return }
        try? file.seek(toOffset: UInt64(member.upperBound - 1 - old.utf8.count))
        try? file.write(contentsOf: Data(new.utf8))
    }

    // MARK: Making

    private func write(_ url: URL, stamp: String) throws {
        let directory = url.deletingLastPathComponent()
        let byteCount = descriptions.reduce(0) { $0 + $1.byteCount }
        do {
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        } catch {
            throw FileError.cannotWrite(
                file: directory.path, neededBytes: byteCount, reason: error.localizedDescription)
        }
        func metadata(source: UInt64, checksums: [UInt64]) -> [String: String] {
            [
                "format": Self.format, "layout": layout.name, "source": Self.hexadecimal(source), "stamp": stamp,
                "checksums": checksums.map(Self.hexadecimal).joined(),
            ]
        }
        let pieces = (byteCount + Self.pieceSize - 1) / Self.pieceSize
        let file = try InPlaceSafetensors(
            destination: url, tensors: descriptions,
            metadata: metadata(source: 0, checksums: [UInt64](repeating: 0, count: pieces)),
            alignment: Int(SIGN_KERNELS_ALIGNMENT))
        let source = try pack {
            UnsafeMutableRawPointer(file.bytes(at: $0).baseAddress!).assumingMemoryBound(to: UInt8.self)
        }
        // Whoever opens it compares the checksums: the model may start before the disk has the file.
        try file.commit(
            metadata: metadata(source: source, checksums: checksums(of: UnsafeRawBufferPointer(file.data))),
            waitsForDisk: false)
    }

    private func packInMemory() throws -> [PackedSigns] {
        let buffers = try descriptions.map {
            try Buffer<UInt8>(count: $0.byteCount, alignment: Int(SIGN_KERNELS_ALIGNMENT))
        }
        _ = try pack { buffers[$0].pointer }
        return zip(linears, buffers).map { linear, buffer in
            PackedSigns(rows: linear.outputs, columns: linear.inputs, bytes: buffer.pointer, owner: buffer)
        }
    }

    /// Writes every matrix to its target.
    ///
    /// - Returns: as ``sourceChecksum()``.
    private func pack(to target: (Int) -> UnsafeMutablePointer<UInt8>) throws -> UInt64 {
        try eachMatrix { index, linear, signs in
            let matrix = sign_kernels_matrix(
                bits: signs.baseAddress!.assumingMemoryBound(to: UInt8.self),
                bytes_per_row: linear.packedBytesPerRow, rows: linear.outputs, columns: linear.inputs)
            let packed = target(index)
            try pool.parallelFor(layout.tileCount(rows: linear.outputs)) { layout.pack(matrix, tiles: $0, to: packed) }
        }
    }

    // MARK: Checksums

    /// Checksum of all signs as the checkpoint has them.
    private func sourceChecksum() throws -> UInt64 { try eachMatrix { _, _, _ in } }

    /// Calls `body` with each matrix's number and signs, and returns the checksum of all of them.
    private func eachMatrix(
        _ body: (Int, LinearDescription, UnsafeRawBufferPointer) throws -> Void
    ) throws -> UInt64 {
        var sums: [UInt64] = []
        for (index, linear) in linears.enumerated() {
            try Task.checkCancellation()
            let signs = try checkpoint.mapped(linear.weightName)
            try body(index, linear, signs.bytes)
            sums += try checksums(of: signs.bytes)
            // The source is not needed again, so that a model takes its size in memory once, not twice.
            try checkpoint.releasePages(of: linear.weightName)
        }
        return Self.combine(sums)
    }

    /// Checksum of the first bytes of every matrix: differs between models of the same shapes.
    private func sampleChecksum() throws -> UInt64 {
        Self.combine(
            try linears.map { linear in
                try checkpoint.withUnsafeBytes(of: linear.weightName) {
                    Self.checksum(UnsafeRawBufferPointer(rebasing: $0.prefix(Self.sampleSize)))
                }
            })
    }

    /// One for every piece of the data.
    private func checksums(of data: UnsafeRawBufferPointer) throws -> [UInt64] {
        let pieces = (data.count + Self.pieceSize - 1) / Self.pieceSize
        let sums = try Buffer<UInt64>(count: pieces)
        try pool.parallelFor(pieces) { range in
            for piece in range {
                let bytes = data[piece * Self.pieceSize..<min((piece + 1) * Self.pieceSize, data.count)]
                sums.pointer[piece] = Self.checksum(UnsafeRawBufferPointer(rebasing: bytes))
            }
        }
        return Array(UnsafeBufferPointer(start: sums.pointer, count: pieces))
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        sign_kernels_checksum(bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), bytes.count)
    }

    private static func checksum(_ text: String) -> UInt64 {
        Array(text.utf8).withUnsafeBytes { checksum($0) }
    }

    private static func combine(_ sums: [UInt64]) -> UInt64 {
        sums.withUnsafeBytes { checksum($0) }
    }

    /// 16 digits.
    private static func hexadecimal(_ sum: UInt64) -> String {
        let digits = String(sum, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private var descriptions: [TensorDescription] {
        linears.map {
            TensorDescription(
                name: $0.weightName, elementType: .uint8,
                shape: [layout.byteCount(rows: $0.outputs, columns: $0.inputs)])
        }
    }
}

/// Why a file of laid out signs is not used.
enum SignLayoutError: LocalizedError {
    case stale
    case otherVersion(key: String)
    case wrongTensor(name: String)
    case unexpectedTensors
    case damaged

    var errorDescription: String? {
        switch self {
        case .stale: "the checkpoint has changed since"
        case .otherVersion(let key): "its \"\(key)\" is of another version"
        case .wrongTensor(let name): "tensor \"\(name)\" is missing or of the wrong size"
        case .unexpectedTensors: "it holds tensors that the checkpoint does not have"
        case .damaged: "its checksum is wrong"
        }
    }
}
