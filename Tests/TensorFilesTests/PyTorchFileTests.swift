import Foundation
import JSON
import TestSupport
import Testing

@testable import TensorFiles

/// Files that PyTorch wrote: `scripts/reference/pytorch_checkpoints.py`, with 2.11.0.
enum PyTorchReference {
    static let directory = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Reference")

    static func url(_ name: String) -> URL { directory.appending(path: name) }
}

struct PyTorchFileTests {
    /// The elements of a tensor of the reference files: −1, −63/64, …
    private func values(_ range: Range<Int>) -> [Float] { range.map { Float($0) / 64 - 1 } }

    private func bytes(_ name: String, of file: PyTorchFile) throws -> [UInt8] {
        try file.withUnsafeBytes(of: name, Array.init)
    }

    @Test("Every element type is read, in pickle protocols 2 and 5", arguments: ["types.bin", "protocol-5.bin"])
    func types(name: String) throws {
        let url = PyTorchReference.url(name)
        let file = try PyTorchFile(contentsOf: url)
        let shapes: [String: (ElementType, [Int])] = [
            "float32": (.float32, [2, 3]), "float16": (.float16, [4]), "bfloat16": (.bfloat16, [3]),
            "int8": (.int8, [2, 2]), "uint8": (.uint8, [3]), "int32": (.int32, [2, 2]), "int64": (.int64, []),
            "empty": (.float32, [0, 4]),
        ]
        #expect(Set(file.tensors.keys) == Set(shapes.keys))
        for (name, (type, shape)) in shapes {
            #expect(file.tensors[name] == TensorDescription(name: name, elementType: type, shape: shape))
        }
        #expect(try file.floats(of: "float32") == values(0..<6))
        #expect(try file.floats(of: "float16") == values(0..<4))
        #expect(try file.floats(of: "bfloat16") == values(0..<3))
        #expect(try file.floats(of: "empty") == [])
        #expect(try bytes("int8", of: file) == [1, 254, 3, 252])
        #expect(try bytes("uint8", of: file) == [0, 128, 255])
        #expect(try bytes("int32", of: file) == [1, -2, 3, -4].flatMap { little(Int32($0)) })
        #expect(try bytes("int64", of: file) == little(-1 << 40))
        #expect(throws: TensorFileError.notFloat(file: url.path, tensor: "int8", found: .int8)) {
            try file.floats(of: "int8")
        }
        #expect(throws: TensorFileError.noSuchTensor(file: url.path, tensor: "x")) { try file.mapped("x") }
    }

    @Test("Tensors that share a storage, whole or in part, are read from it")
    func views() throws {
        let file = try PyTorchFile(contentsOf: PyTorchReference.url("views.bin"))
        #expect(try file.floats(of: "matrix") == values(0..<12))
        #expect(try file.floats(of: "rows") == values(4..<12))
        #expect(try file.floats(of: "element") == values(9..<10))
        #expect(try file.floats(of: "column") == values(0..<5))
        #expect(file.tensors["column"]?.shape == [5, 1])
        #expect(try file.mapped("tied").bytes.baseAddress == file.mapped("matrix").bytes.baseAddress)
        file.releasePages(of: "matrix")
        #expect(try file.floats(of: "tied") == values(0..<12))
    }

    @Test("A tensor that is to be ignored may be of any type", arguments: ["float64.bin", "transposed.bin"])
    func ignored(name: String) throws {
        let url = PyTorchReference.url(name)
        #expect(throws: PyTorchError.self) { try PyTorchFile(contentsOf: url) }
        #expect(try PyTorchFile(contentsOf: url, ignores: { _ in true }).tensors.isEmpty)
    }

    @Test("Parameters are read as the tensors that they are")
    func parameters() throws {
        let file = try PyTorchFile(contentsOf: PyTorchReference.url("parameters.bin"))
        #expect(Set(file.tensors.keys) == ["weight", "bias"])
        #expect(try file.floats(of: "weight") == values(0..<6))
    }

    @Test("An archive written by hand is read, with 64-bit sizes too, and without a word on the byte order")
    func byHand() throws {
        let directory = try TemporaryDirectory()
        for isWide in [false, true] {
            var archive = PyTorchArchive()
            archive.isWide = isWide
            archive.entries.removeAll { $0.name.hasSuffix("byteorder") }
            let file = try PyTorchFile(contentsOf: directory.write(archive.data, as: "m.bin"))
            #expect(try file.floats(of: "weight") == [1, 2])
        }
    }
}
