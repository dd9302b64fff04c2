import Foundation
import JSON
import TensorFiles
import TestSupport
import Testing

struct CheckpointWriterTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private let pair = [
        TensorDescription(name: "a", elementType: .float16, shape: [3]),
        TensorDescription(name: "b", elementType: .float32, shape: [2]),
    ]

    @Test("Tensors start at multiples of their element's width, whatever their order")
    func alignment() throws {
        let tensors = [
            TensorDescription(name: "bits", elementType: .int8, shape: [3]),
            TensorDescription(name: "half", elementType: .float16, shape: [1]),
            TensorDescription(name: "float", elementType: .float32, shape: [1]),
        ]
        let writer = try CheckpointWriter(directory: directory.url, tensors: tensors)
        try [UInt8](1...3).withUnsafeBytes { try writer.write("bits", bytes: $0) }
        try writer.write("half", floats: [0.5])
        try writer.write("float", floats: [0.25])
        try writer.finish()
        let file = try SafetensorsFile(contentsOf: directory.url.appending(path: "model.safetensors"))
        for tensor in tensors {
            let address = try file.withUnsafeBytes(of: tensor.name) { Int(bitPattern: $0.baseAddress) }
            #expect(address % tensor.elementType.byteWidth == 0)
        }
        #expect(try file.floats(of: "half") == [0.5])
        #expect(try file.floats(of: "float") == [0.25])
        #expect(try file.withUnsafeBytes(of: "bits") { Array($0) } == [1, 2, 3])
    }

    @Test("The plan's order, counts and types are held")
    func planIsHeld() throws {
        let writer = try CheckpointWriter(directory: directory.url, tensors: pair)
        #expect(throws: CheckpointWriterError.self) { try writer.write("b", floats: [1, 2]) }
        #expect(throws: CheckpointWriterError.self) { try writer.write("a", floats: [1, 2]) }
        try writer.write("a", floats: [1, 2, 3])
        #expect(throws: CheckpointWriterError.self) { try writer.finish() }
        try writer.write("b", floats: [1, 2])
        #expect(throws: CheckpointWriterError.self) { try writer.write("b", floats: [1, 2]) }
        try writer.finish()
        #expect(throws: CheckpointWriterError.self) {
            try CheckpointWriter(directory: directory.url, tensors: pair + pair)
        }
        #expect(throws: CheckpointWriterError.self) {
            let huge = TensorDescription(name: "a", elementType: .float32, shape: [1 << 40, 1 << 40])
            _ = try CheckpointWriter(directory: directory.url, tensors: [huge])
        }
    }

    @Test("A value that half precision cannot hold is an error with its place, not an infinity")
    func overflow() throws {
        let writer = try CheckpointWriter(directory: directory.url, tensors: pair)
        let found = #expect(throws: CheckpointWriterError.self) { try writer.write("a", floats: [0, 65519, 65520]) }
        guard case .valueOutOfRange(_, "a", 2, 65520, .float16)? = found else {
            return fail("\(String(describing: found))")
        }
        try writer.write("a", floats: [0, 65519, -65504])
    }

    @Test("NaN is never written")
    func notANumber() throws {
        let writer = try CheckpointWriter(directory: directory.url, tensors: pair)
        #expect(throws: TensorFileError.self) { try writer.write("a", floats: [0, .nan, 1]) }
    }

    @Test("bfloat16 rounds to nearest, ties to even")
    func bfloat16() throws {
        let tensor = TensorDescription(name: "a", elementType: .bfloat16, shape: [4])
        let writer = try CheckpointWriter(directory: directory.url, tensors: [tensor])
        let bits: [UInt32] = [0x3F80_8000, 0x3F81_8000, 0x3F80_8001, 0x3F80_7FFF]
        try writer.write("a", floats: bits.map { Float(bitPattern: $0) })
        try writer.finish()
        let file = try SafetensorsFile(contentsOf: directory.url.appending(path: "model.safetensors"))
        let stored = try file.floats(of: "a").map { $0.bitPattern >> 16 }
        #expect(stored == [0x3F80, 0x3F82, 0x3F81, 0x3F80])
    }

    @Test("A writer that goes away unfinished leaves no file")
    func unfinished() throws {
        do {
            let writer = try CheckpointWriter(directory: directory.url, tensors: pair, shardByteLimit: 6)
            try writer.write("a", floats: [1, 2, 3])
            #expect(try directory.entries == ["model-00001-of-00002.safetensors"])
        }
        #expect(try directory.entries.isEmpty)
    }

    @Test("A checkpoint larger than the volume is refused before a byte is written")
    func noSpace() throws {
        let large = TensorDescription(name: "a", elementType: .float32, shape: [1 << 50])
        let found = #expect(throws: FileError.self) {
            try CheckpointWriter(directory: directory.url, tensors: [large])
        }
        guard case .notEnoughSpace(_, let needed, _)? = found else { return fail("another error") }
        #expect(needed > 1 << 52)
        #expect(try directory.entries.isEmpty)
    }

    @Test("A full disk stops the writer with file and bytes named, and no part stays")
    func fullDisk() throws {
        // /dev/full answers every write as a full disk does. It stands in for the second shard.
        let second = directory.url.appending(path: "model-00002-of-00002.safetensors")
        try FileManager.default.createSymbolicLink(
            at: second,
            withDestinationURL: URL(filePath: "/dev/full")
        )
        let writer = try CheckpointWriter(directory: directory.url, tensors: pair, shardByteLimit: 6)
        try writer.write("a", floats: [1, 2, 3])
        let found = #expect(throws: FileError.self) { try writer.write("b", floats: [1, 2]) }
        guard case .cannotWrite(second.path, let needed, let reason)? = found else {
            return fail("\(String(describing: found))")
        }
        #expect(needed ?? 0 > 8)
        #expect(reason == String(cString: strerror(ENOSPC)))
        #expect(
            try directory.entries == [second.lastPathComponent],
            "the link to the device is not the writer's to remove"
        )
    }
}
