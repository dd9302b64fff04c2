import Foundation
import TestSupport
import Testing

@testable import TensorFiles

/// Files that the `gguf` package wrote: `scripts/reference/gguf_files.py`, with gguf 0.19.0.
enum GGUFReference {
    static let directory = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Reference")

    static func url(_ name: String) -> URL { directory.appending(path: name) }
}

struct GGUFFileTests {
    /// `ONEBIT_GGUF_BLOCKS` is a folder with more blocks than the repository has: the script makes them.
    private let blocks =
        ProcessInfo.processInfo.environment["ONEBIT_GGUF_BLOCKS"].map { URL(filePath: $0) } ?? GGUFReference.directory

    @Test(
        "Random blocks of every type become the floats of the gguf package, bit for bit",
        arguments: GGUFTensorType.allCases)
    func dequantization(type: GGUFTensorType) throws {
        let file = try GGUFFile(contentsOf: blocks.appending(path: "blocks.gguf"))
        let expected = try SafetensorsFile(contentsOf: blocks.appending(path: "blocks.safetensors"))
        #expect(file.storedTensors.first { $0.name == type.name }?.type == type)
        #expect(file.tensors[type.name]?.shape == expected.tensors[type.name]?.shape)
        let (found, wanted) = (try file.floats(of: type.name), try expected.floats(of: type.name))
        #expect(found.count == wanted.count && !found.isEmpty)
        #expect(zip(found, wanted).allSatisfy { $0.bitPattern == $1.bitPattern })
    }

    @Test("Values of every type are read, in versions 2 and 3", arguments: ["values.gguf", "values-2.gguf"])
    func values(name: String) throws {
        let file = try GGUFFile(contentsOf: GGUFReference.url(name))
        #expect(file.version == (name == "values.gguf" ? 3 : 2))
        let metadata = file.metadata
        let expected: [(String, GGUFValue)] = [
            ("general.architecture", .string("test")), ("uint8", .uint8(255)), ("int8", .int8(-128)),
            ("uint16", .uint16(65535)), ("int16", .int16(-32768)), ("uint32", .uint32(.max)), ("int32", .int32(.min)),
            ("uint64", .uint64(.max)), ("int64", .int64(.min)), ("float32", .float32(0.1)), ("float64", .float64(0.1)),
            ("true", .bool(true)), ("false", .bool(false)), ("string", .string("é🙂")),
            ("general.alignment", .uint32(64)),
        ]
        for (key, value) in expected { #expect(metadata[key] == value, "\(key)") }
        #expect(try metadata.strings("strings") == ["", "a", "▁b"])
        #expect(try metadata.integers("integers") == [1, -2, 3])
        #expect(try metadata.numbers("floats") == [0.5, -1.5])
        #expect(try metadata.array("booleans")?.elementType == .bool)
        #expect(try metadata.array("nested")?.count == 2)
        #expect(try metadata.array("nested")?.elementType == .array)
        #expect(try file.floats(of: "a") == [0, 1, 2, 3, 4, 5])
        #expect(file.tensors["a"]?.shape == [2, 3])
        #expect(try file.floats(of: "b") == [0, 1, 2, 3])
    }

    @Test("A key of another kind than is asked for is refused, by name")
    func wrongValues() throws {
        let metadata = try GGUFFile(contentsOf: GGUFReference.url("values.gguf")).metadata
        #expect(try metadata.string("missing") == nil)
        #expect(throws: GGUFError.missingKey(file: metadata.file, key: "missing")) {
            try metadata.required("missing", metadata.string("missing"))
        }
        #expect(throws: GGUFError.self) { try metadata.string("uint8") }
        #expect(throws: GGUFError.self) { try metadata.integer("uint64", in: 0...10) }
        #expect(throws: GGUFError.self) { try metadata.integer("uint8", in: 0...10) }
        #expect(throws: GGUFError.self) { try metadata.integers("strings") }
        #expect(throws: GGUFError.self) { try metadata.boolean("int8") }
        #expect(throws: GGUFError.self) { try metadata.positiveNumber("int8") }
    }

    @Test("Floats are read where they are mapped, quantized weights as float16, once for all who use them")
    func mapping() throws {
        let source = try GGUFFile(contentsOf: GGUFReference.url("blocks.gguf"))
        let tensors = try GGUFTensors(source) { [GGUFTensors.Place(name: "model.\($0.name)")] }
        #expect(tensors.tensors["model.Q4_K"]?.elementType == .float16)
        #expect(tensors.stored["model.Q4_K"]?.type == .q4K)
        #expect(tensors.isConverted("model.Q4_K") && !tensors.isConverted("model.BF16"))
        let (first, second) = (try tensors.mapped("model.Q8_0"), try tensors.mapped("model.Q8_0"))
        #expect(first.bytes.baseAddress == second.bytes.baseAddress)
        #expect(try tensors.mapped("model.F16").bytes.baseAddress == source.mapped("F16").bytes.baseAddress)
        let halves = first.bytes.bindMemory(to: UInt16.self)
        #expect(try halves.elementsEqual(source.floats(of: "Q8_0").map(FloatConversion.halfOrInfinity)))
    }

    @Test("Rows of queries come back into Hugging Face's order, quantized or not, and so do biases")
    func rowOrder() throws {
        let directory = try TemporaryDirectory()
        // Heads of 4 channels: llama.cpp's rows 0, 1, 2, 3 of a head are Hugging Face's 0, 2, 1, 3.
        let plan = [
            GGUFTensorDescription(name: "f", type: .f32, shape: [8, 32]),
            GGUFTensorDescription(name: "q", type: .q80, shape: [8, 32]),
            GGUFTensorDescription(name: "b", type: .f32, shape: [8]),
        ]
        let rows = (0..<8).flatMap { [Float](repeating: Float($0) * 127, count: 32) }
        let url = directory.file("rows.gguf")
        let writer = try GGUFWriter(destination: url, metadata: GGUFMetadata(file: ""), tensors: plan)
        try writer.write("f", floats: rows)
        try writer.write("q", floats: rows)
        try writer.write("b", floats: (0..<8).map(Float.init))
        try writer.finish()
        let order = RotaryRowOrder(headSize: 4)
        let tensors = try GGUFTensors(GGUFFile(contentsOf: url)) {
            [GGUFTensors.Place(name: $0.name, rowOrder: order)]
        }
        let wanted: [Float] = [0, 2, 1, 3, 4, 6, 5, 7]
        for name in ["f", "q"] {
            #expect(try tensors.floats(of: name) == wanted.flatMap { [Float](repeating: $0 * 127, count: 32) })
        }
        #expect(try tensors.floats(of: "b") == wanted)
        #expect(throws: GGUFError.self) {
            try GGUFTensors(GGUFFile(contentsOf: url)) {
                [GGUFTensors.Place(name: $0.name, rowOrder: RotaryRowOrder(headSize: 6))]
            }
        }
    }

    @Test("Matrices one below the other are read each by itself, quantized or not; what is added makes floats")
    func parts() throws {
        let directory = try TemporaryDirectory()
        let plan = [
            GGUFTensorDescription(name: "f", type: .f16, shape: [5, 32]),
            GGUFTensorDescription(name: "q", type: .q80, shape: [5, 32]),
            GGUFTensorDescription(name: "n", type: .f16, shape: [4]),
        ]
        let rows = (0..<5).flatMap { [Float](repeating: Float($0) * 127, count: 32) }
        let url = directory.file("parts.gguf")
        let writer = try GGUFWriter(destination: url, metadata: GGUFMetadata(file: ""), tensors: plan)
        try writer.write("f", floats: rows)
        try writer.write("q", floats: rows)
        try writer.write("n", floats: [0, 1, 1.5, 3])
        try writer.finish()
        let file = try GGUFFile(contentsOf: url)
        let tensors = try GGUFTensors(file) { tensor in
            if tensor.name == "n" { return [GGUFTensors.Place(name: "n", addend: -1)] }
            return [(0, 2), (2, 5)].map { GGUFTensors.Place(name: "\(tensor.name)\($0.0)", rows: $0.0..<$0.1) }
        }
        for name in ["f", "q"] {
            #expect(tensors.tensors[name + "0"]?.shape == [2, 32] && tensors.tensors[name + "2"]?.shape == [3, 32])
            #expect(try tensors.floats(of: name + "0") + tensors.floats(of: name + "2") == rows)
        }
        #expect(tensors.tensors["n"]?.elementType == .float32)
        #expect(try tensors.floats(of: "n") == [-1, 0, 0.5, 2])
        #expect(throws: GGUFError.self) {
            try GGUFTensors(file) { [GGUFTensors.Place(name: $0.name, rows: 0..<6)] }
        }
    }
}
