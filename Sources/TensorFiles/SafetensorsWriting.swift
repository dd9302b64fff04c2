import Foundation
import JSON

/// Where each tensor of one safetensors file goes.
struct ShardPlan {
    let name: String
    /// The eight bytes of length and the JSON, padded with spaces.
    let header: [UInt8]
    /// Offset of each tensor from the start of the file, in plan order.
    let offsets: [(tensor: TensorDescription, offset: Int)]
    /// Length of the whole file.
    let byteCount: Int

    /// Lays out a file. Wider elements come first, so that every tensor starts at a multiple of its element's width:
    /// readers that map the file need no copy. The data start at a multiple of `alignment`.
    init(name: String, tensors: [TensorDescription], metadata: [String: String], alignment: Int = 8) {
        self.name = name
        var dataOffset = 0
        var offsets = [Int](repeating: 0, count: tensors.count)
        var object = JSONObject()
        if !metadata.isEmpty {
            let members = metadata.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.string($0.value)) }
            object["__metadata__"] = .object(JSONObject(members))
        }
        for width in [8, 4, 2, 1] {
            for (index, tensor) in tensors.enumerated() where tensor.elementType.byteWidth == width {
                let end = dataOffset + tensor.byteCount
                offsets[index] = dataOffset
                object[tensor.name] = .object(
                    JSONObject([
                        ("dtype", .string(tensor.elementType.rawValue)),
                        ("shape", .array(tensor.shape.map { .integer($0) })),
                        ("data_offsets", .array([.integer(dataOffset), .integer(end)])),
                    ])
                )
                dataOffset = end
            }
        }
        var json = Array(JSONValue.object(object).serialized().utf8)
        let excess = (json.count + MemoryLayout<UInt64>.size) % alignment
        json += [UInt8](repeating: UInt8(ascii: " "), count: (alignment - excess) % alignment)
        header = withUnsafeBytes(of: UInt64(json.count).littleEndian, Array.init) + json
        let dataStart = header.count
        self.offsets = zip(tensors, offsets).map { ($0, dataStart + $1) }
        byteCount = dataStart + dataOffset
    }

    /// Splits tensors into files of at most `byteLimit` bytes of data each; a larger tensor gets a file of its own.
    static func plans(
        tensors: [TensorDescription],
        metadata: [String: String],
        byteLimit: Int
    ) -> [ShardPlan] {
        var groups: [[TensorDescription]] = [[]]
        var bytes = 0
        for tensor in tensors {
            if bytes > 0 && bytes + tensor.byteCount > byteLimit {
                groups.append([])
                bytes = 0
            }
            groups[groups.count - 1].append(tensor)
            bytes += tensor.byteCount
        }
        if groups.count == 1 {
            return [ShardPlan(name: ShardIndex.safetensors.singleName, tensors: groups[0], metadata: metadata)]
        }
        return groups.enumerated().map { index, group in
            let name = "model-\(fiveDigits(index + 1))-of-\(fiveDigits(groups.count)).safetensors"
            return ShardPlan(name: name, tensors: group, metadata: metadata)
        }
    }

    private static func fiveDigits(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}

extension SafetensorsFile {
    /// Writes a file whole.
    ///
    /// - Parameters:
    ///   - tensors: names, types and shapes.
    ///   - bytes: hands the bytes of the tensor with an index to its second argument.
    /// - Throws: `FileError`, and what `bytes` throws; what was written is then removed.
    package static func write(
        to url: URL, tensors: [TensorDescription], metadata: [String: String],
        bytes: (_ index: Int, _ write: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
    ) throws {
        let plan = ShardPlan(name: url.lastPathComponent, tensors: tensors, metadata: metadata)
        let directory = url.deletingLastPathComponent().path
        if let available = availableBytes(at: directory), available < plan.byteCount {
            throw FileError.notEnoughSpace(
                directory: directory, neededBytes: plan.byteCount, availableBytes: available)
        }
        let file = try OutputFile(path: url.path, neededBytes: plan.byteCount)
        try plan.header.withUnsafeBytes { try file.write($0, at: 0) }
        for (index, place) in plan.offsets.enumerated() {
            try bytes(index) { try file.write($0, at: place.offset) }
        }
        try file.finish()
    }
}

/// A safetensors file that is filled where it is mapped, in any order and from any thread, and moved to its destination at the
/// end.
///
/// The space on the disk is allocated first, so that a full disk is an error here and not a signal later. An object that is
/// released before ``commit(metadata:)`` leaves nothing behind.
// Unchecked because of the pointer: tensors don't overlap, and who writes to one is up to the caller, as with any
// memory.
package final class InPlaceSafetensors: @unchecked Sendable {
    private let destination: URL
    private let temporary: String
    private let tensors: [TensorDescription]
    private let alignment: Int
    private let plan: ShardPlan
    private let base: UnsafeMutableRawPointer
    private var isCommitted = false

    /// Creates the file under a temporary name beside `destination`.
    ///
    /// - Parameters:
    ///   - metadata: as it will be in the end, except for characters that ``commit(metadata:)`` replaces by as many others.
    ///   - alignment: what the data's offset in the file is a multiple of.
    /// - Throws: `FileError`
    package init(
        destination: URL, tensors: [TensorDescription], metadata: [String: String], alignment: Int
    ) throws {
        self.destination = destination
        self.tensors = tensors
        self.alignment = alignment
        plan = ShardPlan(
            name: destination.lastPathComponent, tensors: tensors, metadata: metadata, alignment: alignment)
        let directory = destination.deletingLastPathComponent().path
        temporary = "\(directory)/.\(destination.lastPathComponent).\(ProcessInfo.processInfo.globallyUniqueString)"
        if let available = availableBytes(at: directory), available < plan.byteCount {
            throw FileError.notEnoughSpace(
                directory: directory, neededBytes: plan.byteCount, availableBytes: available)
        }
        let descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw FileError.cannotWrite(
                file: destination.path, neededBytes: plan.byteCount, reason: FileError.systemReason)
        }
        defer { close(descriptor) }
        let failure = Self.allocate(descriptor, plan.byteCount)
        let mapped = mmap(nil, plan.byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        guard failure == 0, let mapped, mapped != MAP_FAILED else {
            let reason = failure == 0 ? FileError.systemReason : String(cString: strerror(failure))
            unlink(temporary)
            throw FileError.cannotWrite(file: destination.path, neededBytes: plan.byteCount, reason: reason)
        }
        base = mapped
    }

    deinit {
        munmap(base, plan.byteCount)
        if !isCommitted { unlink(temporary) }
    }

    /// The data of all tensors.
    package var data: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: base + plan.header.count, count: plan.byteCount - plan.header.count)
    }

    /// Where a tensor's bytes go: by its index in the list given to `init`.
    package func bytes(at index: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: base + plan.offsets[index].offset, count: tensors[index].byteCount)
    }

    /// Bytes that are brought to the disk between two looks at the task's cancellation.
    private static let syncPiece = 64 << 20

    /// Writes the header, writes everything to the disk and moves the file to its destination.
    ///
    /// - Parameters:
    ///   - metadata: in place of what `init` was given, as long as that.
    ///   - waitsForDisk: whether the bytes are on the disk on return. If not, a power failure may leave a file of which some
    ///     bytes are zero: for those who check what they read.
    /// - Throws: `FileError`, `CancellationError`
    package func commit(metadata: [String: String], waitsForDisk: Bool = true) throws {
        let header = ShardPlan(name: plan.name, tensors: tensors, metadata: metadata, alignment: alignment).header
        precondition(header.count == plan.header.count, "the header's length was fixed by init")
        header.withUnsafeBytes { base.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        var succeeded = true
        for offset in stride(from: 0, to: plan.byteCount, by: Self.syncPiece) where succeeded && waitsForDisk {
            try Task.checkCancellation()
            succeeded = msync(base + offset, min(Self.syncPiece, plan.byteCount - offset), MS_SYNC) == 0
        }
        guard succeeded, rename(temporary, destination.path) == 0 else {
            throw FileError.cannotWrite(
                file: destination.path, neededBytes: plan.byteCount, reason: FileError.systemReason)
        }
        isCommitted = true
    }

    /// 0, or the error number.
    private static func allocate(_ descriptor: Int32, _ count: Int) -> Int32 {
        #if canImport(Darwin)
            return ftruncate(descriptor, off_t(count)) == 0 ? 0 : errno
        #else
            return posix_fallocate(descriptor, 0, off_t(count))
        #endif
    }
}
