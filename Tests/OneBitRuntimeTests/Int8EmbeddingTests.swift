import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import TestSupport
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

/// Packed files that hold embedding and output projection in 8 bits.
@Suite struct Int8EmbeddingTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func pack(_ tiny: TinyPackedModel) throws -> URL {
        let packed = folder.file("packed-\(UUID().uuidString)")
        try CheckpointPacker(valueType: nil, embeddingFormat: .int8).pack(
            student: Checkpoint(directory: tiny.directory), destination: packed)
        return packed
    }

    private func model(
        _ directory: URL, threads: Int = 1, headPrecision: HeadPrecision = .stored,
        instructionSet: InstructionSet? = nil
    ) throws -> PackedModel {
        try PackedModel(
            directory: directory,
            options: LoadOptions(
                threads: threads, inputPrecision: .bits16, headPrecision: headPrecision, instructionSet: instructionSet,
                layoutPolicy: .memory))
    }

    @Test("Logits are near those of the floats, and the same on every instruction set and number of threads")
    func logits() throws {
        for isTied in [false, true] {
            let tiny = try TinyPackedModel(
                hiddenSize: 24, intermediateSize: 40, keyValueHeads: 2, tiedEmbeddings: isTied)
            let packed = try pack(tiny)
            let tokens = tiny.tokens(13)
            let found = try model(packed).logits(of: tokens)
            #expect(relativeError(found, ReferenceModel(tiny).logits(of: tokens)) < 0.03)
            #expect(try model(packed, threads: 3, headPrecision: .bits8).logits(of: tokens) == found)
            for instructionSet in InstructionSet.available {
                #expect(try model(packed, instructionSet: instructionSet).logits(of: tokens) == found)
            }
        }
    }

    @Test("An output projection rounded into the file gives the bits of one rounded at load")
    func sameAsAtLoad() throws {
        // Embeddings that 8 bits hold exactly: what is left is the head.
        let tiny = try TinyPackedModel(hiddenSize: 24, intermediateSize: 40) { name, values in
            guard name == "model.embed_tokens.weight" else { return }
            values = values.enumerated().map { $0 % 24 == 0 ? 127 : ($1 * 100).rounded() }
        }
        let tokens = tiny.tokens(9)
        let rounded = try model(tiny.directory, headPrecision: .bits8)
        let packed = try model(pack(tiny))
        #expect(try packed.logits(of: tokens) == rounded.logits(of: tokens))
        #expect(packed.bytesPerToken == rounded.bytesPerToken)
        #expect(try packed.bytesPerToken < model(tiny.directory).bytesPerToken)
    }

    @Test("A missing scale, one of another shape, unsigned bytes and a scale that is no number are refused by name")
    func damaged() throws {
        let packed = try pack(TinyPackedModel(hiddenSize: 24, intermediateSize: 40))
        let checkpoint = try Checkpoint(directory: packed)
        let scale = "lm_head.weight_scale"
        func rewrite(_ edit: (TensorDescription) -> TensorDescription?, value: Float? = nil) throws -> URL {
            let directory = folder.file("damaged-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
            try FileManager.default.copyItem(
                at: packed.appending(path: "config.json"), to: directory.appending(path: "config.json"))
            let tensors = checkpoint.tensors.values.sorted { $0.name < $1.name }.compactMap(edit)
            let writer = try CheckpointWriter(directory: directory, tensors: tensors)
            for tensor in tensors {
                var bytes = try checkpoint.withUnsafeBytes(of: tensor.name) { Array($0.prefix(tensor.byteCount)) }
                if tensor.name == scale, let value {
                    withUnsafeBytes(of: value) { bytes.replaceSubrange(8..<12, with: $0) }
                }
                try bytes.withUnsafeBytes { try writer.write(tensor.name, bytes: $0) }
            }
            try writer.finish()
            return directory
        }
        let intact = try rewrite { $0 }
        #expect(throws: Never.self) { try model(intact) }

        let missing = try rewrite { $0.name == scale ? nil : $0 }
        #expect(throws: CheckpointError.missingTensor(directory: missing.path, tensor: scale)) {
            try Checkpoint(directory: missing)
        }
        let short = try rewrite {
            $0.name == scale ? TensorDescription(name: scale, elementType: .float32, shape: [36]) : $0
        }
        #expect(
            throws: CheckpointError.wrongShape(directory: short.path, tensor: scale, expected: [37], found: [36])
        ) { try Checkpoint(directory: short) }
        let unsigned = try rewrite {
            $0.name == "lm_head.weight"
                ? TensorDescription(name: $0.name, elementType: .uint8, shape: $0.shape) : $0
        }
        #expect(
            throws: CheckpointError.wrongElementType(
                directory: unsigned.path, tensor: "lm_head.weight", expected: "I8", found: .uint8)
        ) { try Checkpoint(directory: unsigned) }
        for value in [Float.nan, .infinity] {
            let directory = try rewrite({ $0 }, value: value)
            let error = #expect(throws: TensorFileError.self) { try model(directory) }
            guard case .nonFinite(_, tensor: scale, index: 2, _)? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
        }
    }
}
