import Foundation
import ModelDescription
import TensorFiles
import TestSupport
import Testing

@Suite("onebit pack")
struct PackCommandTests {
    /// Checkpoints in the form of the paper's authors, PyTorch's files: ModelDescriptionTests has them.
    private func released(_ form: String) -> URL {
        URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "ModelDescriptionTests/Reference/release-\(form)")
    }

    @Test(
        "Embeddings of a float student become bytes, which stay so until they are floats again, unless told otherwise")
    func embeddingBits() async throws {
        let folder = try TemporaryDirectory()
        var source = released("float")
        let steps: [(String?, ElementType)] = [
            (nil, .int8), (nil, .int8), ("float", .float16), (nil, .float16), ("8", .int8), ("stored", .int8),
        ]
        for (number, (bits, type)) in steps.enumerated() {
            let output = folder.file("packed\(number)")
            let option = bits.map { ["--embedding-bits", $0] } ?? []
            let outcome = try await BuiltCommand.run(
                ["pack", source.path, "--output", output.path, "--value-type", "float16"] + option)
            #expect(outcome.exitCode == 0)
            let packed = try Checkpoint(directory: output)
            for tensor in packed.configuration.embeddingTensors {
                #expect(try packed.description(of: tensor.name).elementType == type)
            }
            source = output
        }
    }

    @Test(
        "A packed checkpoint keeps its types unless told otherwise, a float one gets float16",
        arguments: [
            ("packed", [], ElementType.float32), ("packed", ["--value-type", "float16"], .float16),
            ("float", ["--embedding-bits", "float"], .float16),
            ("float", ["--value-type", "stored", "--embedding-bits", "float"], .float32),
        ]
    )
    func valueTypes(form: String, options: [String], type: ElementType) async throws {
        let folder = try TemporaryDirectory()
        let output = folder.file("packed")
        let outcome = try await BuiltCommand.run(
            ["pack", released(form).path, "--output", output.path] + options)
        #expect(outcome.exitCode == 0)
        let source = try Checkpoint(directory: released("packed"))
        let packed = try Checkpoint(directory: output)
        #expect(packed.kind == .packed)
        for tensor in packed.tensors.values {
            #expect(tensor.elementType == (tensor.name.hasSuffix("proj.weight") ? .int8 : type))
            if type == .float32 || tensor.elementType == .int8 {
                let expected = try source.withUnsafeBytes(of: tensor.name, Array.init)
                try packed.withUnsafeBytes(of: tensor.name) { #expect(Array($0) == expected, "\(tensor.name)") }
            }
        }
    }
}
