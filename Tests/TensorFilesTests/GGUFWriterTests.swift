import Foundation
import JSON
import TestSupport
import Testing

@testable import TensorFiles

struct GGUFWriterTests {
    let directory: TemporaryDirectory
    let url: URL

    init() throws {
        directory = try TemporaryDirectory()
        url = directory.file("model.gguf")
    }

    private var metadata: GGUFMetadata {
        var metadata = GGUFMetadata(file: "")
        metadata["general.architecture"] = .string("llama")
        metadata["llama.rope.freq_base"] = .float32(10_000)
        metadata["tokenizer.ggml.tokens"] = .array(GGUFArray(["a", "", "▁é"]))
        metadata["tokenizer.ggml.token_type"] = .array(GGUFArray([1, 3, -1] as [Int32]))
        metadata["tokenizer.ggml.scores"] = .array(GGUFArray([0, -1.5] as [Float]))
        metadata["flag"] = .bool(true)
        return metadata
    }

    @Test(
        "Floats are rounded and quantized to the bytes of the gguf package",
        arguments: [GGUFTensorType.f32, .f16, .bf16, .q80, .q10])
    func quantization(type: GGUFTensorType) throws {
        let reference = try SafetensorsFile(contentsOf: GGUFReference.url("written.safetensors"))
        let floats = try reference.floats(of: type == .q10 ? "signs" : "floats")
        let plan = [GGUFTensorDescription(name: "x", type: type, shape: [4, 256])]
        let writer = try GGUFWriter(destination: url, metadata: metadata, tensors: plan)
        try writer.write("x", floats: floats)
        try writer.finish()
        let file = try GGUFFile(contentsOf: url)
        let stored = try #require(file.contents.ranges["x"])
        let expected = try reference.withUnsafeBytes(of: type.name, Array.init)
        #expect(Array(file.contents.file.bytes[stored]) == expected)
        if type == .q10 || type == .f32 { #expect(try file.floats(of: "x") == floats) }
    }

    @Test("What is written is read again, tensors at multiples of the alignment", arguments: [32, 256])
    func roundTrip(alignment: Int) throws {
        var metadata = metadata
        if alignment != 32 { metadata["general.alignment"] = .uint32(UInt32(alignment)) }
        let plan = [
            GGUFTensorDescription(name: "a", type: .f16, shape: [3]),
            GGUFTensorDescription(name: "b", type: .q80, shape: [3, 64]),
            GGUFTensorDescription(name: "c", type: .f32, shape: [2, 1, 5]),
        ]
        let writer = try GGUFWriter(destination: url, metadata: metadata, tensors: plan)
        try writer.write("a", floats: [1, 2, 3])
        try [UInt8](repeating: 7, count: 3 * 2 * 34).withUnsafeBytes { try writer.write("b", bytes: $0) }
        try writer.write("c", floats: (0..<10).map(Float.init))
        try writer.finish()
        #expect(try Data(contentsOf: url).count == writer.byteCount)
        let file = try GGUFFile(contentsOf: url)
        #expect(file.version == 3)
        #expect(file.storedTensors == plan)
        #expect(file.metadata.keys == metadata.keys)
        for key in metadata.keys { #expect(file.metadata[key] == metadata[key], "\(key)") }
        #expect(try file.floats(of: "a") == [1, 2, 3])
        #expect(try file.floats(of: "c") == (0..<10).map(Float.init))
        for range in file.contents.ranges.values { #expect(range.lowerBound % alignment == 0) }
        #expect(try directory.entries == ["model.gguf"])
    }

    @Test("A writer that is not finished leaves nothing, and the older file as it was")
    func interrupted() throws {
        try directory.write("old", as: "model.gguf")
        let plan = [GGUFTensorDescription(name: "a", type: .f32, shape: [2])]
        do {
            let writer = try GGUFWriter(destination: url, metadata: metadata, tensors: plan)
            #expect(throws: CheckpointWriterError.incomplete(file: url.path, missing: "a")) { try writer.finish() }
        }
        #expect(try directory.entries == ["model.gguf"])
        #expect(try Data(contentsOf: url) == Data("old".utf8))
    }

    @Test("Tensors out of order, of another size, not finite or too large are refused")
    func refusals() throws {
        let plan = [
            GGUFTensorDescription(name: "a", type: .f16, shape: [2]),
            GGUFTensorDescription(name: "k", type: .q4K, shape: [256]),
        ]
        let writer = try GGUFWriter(destination: url, metadata: metadata, tensors: plan)
        #expect(throws: CheckpointWriterError.outOfOrder(file: url.path, expected: "a", found: "b")) {
            try writer.write("b", floats: [1, 2])
        }
        #expect(throws: CheckpointWriterError.wrongCount(file: url.path, tensor: "a", expected: 2, found: 1)) {
            try writer.write("a", floats: [1])
        }
        #expect(throws: TensorFileError.self) { try writer.write("a", floats: [1, .nan]) }
        #expect(throws: GGUFError.valueOutOfRange(file: url.path, tensor: "a", index: 1, value: 1e6, type: "F16")) {
            try writer.write("a", floats: [1, 1e6])
        }
        try writer.write("a", floats: [1, 2])
        #expect(throws: GGUFError.self) { try writer.write("k", floats: [Float](repeating: 0, count: 256)) }

        func refused(_ plan: [GGUFTensorDescription]) {
            #expect(throws: GGUFError.self) {
                try GGUFWriter(destination: url, metadata: metadata, tensors: plan)
            }
        }
        refused([plan[0], plan[0]])
        refused([GGUFTensorDescription(name: "a", type: .q80, shape: [2, 33])])
        refused([GGUFTensorDescription(name: "a", type: .f32, shape: [1 << 40, 1 << 40])])
        refused([GGUFTensorDescription(name: "a", type: .f32, shape: [])])
        refused([GGUFTensorDescription(name: "a", type: .f32, shape: [-1])])
    }
}
