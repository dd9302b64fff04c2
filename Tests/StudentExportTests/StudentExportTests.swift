import Foundation
import JSON
import LanguageModel
import ModelDescription
import OneBitRuntime
import SignDecomposition
import StudentExport
import TensorFiles
import TestSupport
import Testing
import Tokenization

/// What leaves is read back as the dense model that it says it is, and must compute what the student computes.
@Suite("Students for other engines")
struct StudentExportTests {
    private static let tokens = [0, 5, 11, 3, 38, 24, 7, 7, 16]

    /// Largest difference of all logits by the largest logit.
    private func difference(_ student: Checkpoint, _ exported: URL) throws -> Float {
        let found = try DenseModel(checkpoint: Checkpoint(directory: exported), threads: 1).logits(of: Self.tokens)
        let wanted = try PackedModel(checkpoint: student, options: LoadOptions(threads: 1, inputPrecision: .bits16))
            .logits(of: Self.tokens)
        try #require(found.count == wanted.count && found.count == Self.tokens.count * 40)
        let largest = wanted.map(\.magnitude).max() ?? 0
        return (zip(found, wanted).map { ($0 - $1).magnitude }.max() ?? .infinity) / largest
    }

    @Test("A dense model has the student's logits, of float and packed students", arguments: [true, false])
    func dense(isPacked: Bool) throws {
        let student = try RandomStudent(inputScales: .own, isPacked: isPacked)
        let output = student.directory.file("dense")
        try DenseExporter(elementType: .float32).export(student.checkpoint, to: output)
        let exported = try Checkpoint(directory: output)
        #expect(exported.kind == .dense)
        for linear in exported.configuration.linears {
            let weight = try exported.floats(of: linear.weightName)
            let (g, h) = (
                try student.checkpoint.floats(of: linear.inputScaleName),
                try student.checkpoint.floats(of: linear.outputScaleName)
            )
            for (index, value) in weight.enumerated() {
                let (row, column) = index.quotientAndRemainder(dividingBy: linear.inputs)
                #expect(value.magnitude == (h[row] * g[column]).magnitude)
            }
        }
        if isPacked { #expect(try difference(student.checkpoint, output) < 2e-3) }
        #expect(try loadTokenizer(from: output).encode("the", addSpecialTokens: true) == [0, 33])
        let config = try String(contentsOf: output.appending(path: "config.json"), encoding: .utf8)
        #expect(config.contains(#""torch_dtype": "float32""#) && !config.contains("quantization_config"))
    }

    @Test(
        "A family whose own checkpoints hold several matrices as one is exported so, and read back with the same logits"
    )
    func fusedMatrices() throws {
        let student = try RandomStudent(#""model_type": "phi3""#)
        let output = student.directory.file("dense")
        try DenseExporter(elementType: .float32).export(student.checkpoint, to: output)
        let stored = try SafetensorsFile(contentsOf: output.appending(path: "model.safetensors")).tensors
        #expect(stored["model.layers.1.self_attn.qkv_proj.weight"]?.shape == [48, 24])
        #expect(stored["model.layers.1.mlp.gate_up_proj.weight"]?.shape == [80, 24])
        #expect(!stored.keys.contains { $0.contains("q_proj") || $0.contains("up_proj") && !$0.contains("gate_up") })
        #expect(try difference(student.checkpoint, output) < 2e-3)
    }

    @Test(
        "A student with shared input scales is signs and a scale per row in every layer, filled up to whole blocks",
        arguments: [
            #""model_type": "llama""#,
            #""model_type": "llama", "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true"#,
            #""model_type": "llama", "head_dim": 8, "rope_scaling": {"rope_type": "linear", "factor": 2.0}"#,
            """
            "model_type": "llama", "rope_theta": 100000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
            """,
            #""model_type": "qwen2""#,
            #""model_type": "qwen3", "head_dim": 8"#,
        ])
    func signs(config: String) throws {
        let student = try RandomStudent(config)
        let output = student.directory.file("student.gguf")
        let report = try GGUFExporter(embeddingType: .f32).export(student.checkpoint, to: output)
        #expect(report.signLayers == 14 && report.layers == 14)
        #expect(!report.padding.isEmpty && report.reasons.isEmpty)
        let file = try GGUFFile(contentsOf: output)
        for tensor in file.storedTensors where tensor.name.hasPrefix("blk.") && tensor.shape.count == 2 {
            #expect(tensor.type == .q10 && tensor.shape[1] % 128 == 0, "\(tensor.name)")
        }
        // The scales of rows are halves, and their products are rounded once more.
        #expect(try difference(student.checkpoint, output) < 4e-3)
    }

    /// A family and how many of its seven layers a block are signs.
    struct Family: CustomTestStringConvertible {
        let config: String
        var signs = 7
        var layers = 2
        var testDescription: String { config }
    }

    @Test(
        "Each family that llama.cpp has is read back with the student's logits",
        arguments: [
            Family(config: #""model_type": "smollm3""#, layers: 5),
            Family(
                config: """
                    "model_type": "granite", "embedding_multiplier": 3.0, "attention_multiplier": 0.2,
                    "residual_multiplier": 0.5, "logits_scaling": 4.0
                    """),
            Family(config: #""model_type": "phi3", "partial_rotary_factor": 0.5, "pad_token_id": 0"#),
            // LayerNorm: the residual stream is not filled up, and all but down read it or are as wide.
            Family(
                config: #""model_type": "stablelm", "use_qkv_bias": true, "partial_rotary_factor": 0.5"#, signs: 1),
            Family(config: #""model_type": "olmo2", "tie_word_embeddings": true"#, signs: 0),
            Family(
                config: """
                    "model_type": "gemma2", "head_dim": 8, "query_pre_attn_scalar": 5, "sliding_window": 4,
                    "attn_logit_softcapping": 3.0, "final_logit_softcapping": 20.0
                    """, layers: 3),
            Family(
                config: """
                    "model_type": "gemma2", "head_dim": 8, "sliding_window": 3,
                    "layer_types": ["full_attention", "sliding_attention"]
                    """),
            Family(
                config: """
                    "model_type": "gemma3_text", "head_dim": 8, "query_pre_attn_scalar": 5, "sliding_window": 4,
                    "sliding_window_pattern": 2, "rope_local_base_freq": 100.0, "tie_word_embeddings": false,
                    "rope_scaling": {"rope_type": "linear", "factor": 2.0}
                    """, layers: 3),
            Family(
                config: #""model_type": "gemma3_text", "head_dim": 8, "final_logit_softcapping": 9.0"#, layers: 7),
        ])
    func families(family: Family) throws {
        let student = try RandomStudent(family.config, layers: family.layers)
        let output = student.directory.file("student.gguf")
        let report = try GGUFExporter(denseType: .f32, embeddingType: .f32).export(student.checkpoint, to: output)
        #expect(report.signLayers == family.signs * family.layers && report.layers == 7 * family.layers)
        #expect(report.reasons.isEmpty == (family.signs == 7))
        #expect(try difference(student.checkpoint, output) < 4e-3)
        let (found, own) = (try Checkpoint(directory: output).configuration, student.checkpoint.configuration)
        #expect(found.modelType == own.modelType && found.warnings.isEmpty)
        #expect(found.structure.windowedLayers == own.structure.windowedLayers)
        #expect(found.structure.slidingWindow == own.structure.slidingWindow)
        #expect(found.structure.windowedRotation == own.structure.windowedRotation)
        #expect(found.structure.unrotatedLayers == own.structure.unrotatedLayers)
    }

    @Test("Layers that keep input scales of their own are dense, and the report says why")
    func ownScales() throws {
        let student = try RandomStudent(inputScales: .own)
        let output = student.directory.file("student.gguf")
        let report = try GGUFExporter(denseType: .f32, embeddingType: .f32).export(student.checkpoint, to: output)
        #expect(report.signLayers == 0 && report.padding.isEmpty)
        #expect(report.reasons.contains("q, k and v have input scales of their own"))
        #expect(report.reasons.contains { $0.hasPrefix("ffn_down's 40 columns") })
        #expect(try difference(student.checkpoint, output) < 2e-3)
    }

    @Test("The tokenizer in the file gives the ids of the student's", arguments: [true, false])
    func tokenizer(isByteLevel: Bool) throws {
        let student = try RandomStudent(
            tokenizer: isByteLevel ? RandomStudent.byteLevelTokenizer : RandomStudent.sentencePieceTokenizer)
        let output = student.directory.file("student.gguf")
        _ = try GGUFExporter().export(student.checkpoint, to: output)
        let own = try loadTokenizer(from: student.checkpoint.directory)
        let exported = try loadTokenizer(from: output)
        for text in ["the path", " a thing", "a the  the", "", "bathe\nthe"] where !(isByteLevel && text.contains("\n"))
        {
            #expect(
                try exported.encode(text, addSpecialTokens: true) == own.encode(text, addSpecialTokens: true), "\(text)"
            )
        }
        let metadata = try GGUFFile(contentsOf: output).metadata
        #expect(try metadata.string("tokenizer.chat_template") == "{{ messages }}")
        #expect(try metadata.array("tokenizer.ggml.tokens")?.count == 40)
        #expect(try metadata.integer("tokenizer.ggml.eos_token_id", in: 0...100) == (isByteLevel ? 1 : 2))
    }

    @Test("What other engines cannot compute is refused before anything is written")
    func refused() throws {
        func expect(_ student: RandomStudent, _ isExpected: @escaping (ExportError) -> Bool) {
            let output = student.directory.file("student.gguf")
            #expect {
                try GGUFExporter().export(student.checkpoint, to: output)
            } throws: { error in
                (error as? ExportError).map(isExpected) ?? false
            }
            #expect(!FileManager.default.fileExists(atPath: output.path))
        }
        expect(try RandomStudent(recipe: .paper)) { if case .layerNormBehindLayers = $0 { true } else { false } }
        expect(
            try RandomStudent(
                #""model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}"#)
        ) { if case .notExpressible = $0 { true } else { false } }
        expect(
            try RandomStudent(
                #""model_type": "llama", "rope_scaling": {"rope_type": "yarn", "factor": 2.0}"#)
        ) { if case .notExpressible = $0 { true } else { false } }
        // llama.cpp leaves every fourth layer of SmolLM3 without rotation, and no other; Gemma 2 has caps there, and a tied
        // head; the biases of Qwen3's output layer have no tensor; heads of OLMo 2 are as wide as the residual stream.
        for config in [
            #""model_type": "smollm3", "no_rope_layer_interval": 2"#,
            #""model_type": "gemma2", "attn_logit_softcapping": null"#,
            #""model_type": "gemma2", "tie_word_embeddings": false"#,
            #""model_type": "qwen3", "attention_bias": true"#,
            #""model_type": "olmo2", "head_dim": 8"#,
        ] {
            expect(try RandomStudent(config)) { if case .notExpressible = $0 { true } else { false } }
        }
        let student = try RandomStudent()
        let teacher = try Checkpoint(directory: student.directory.file("teacher"))
        #expect(throws: ExportError.notAStudent(directory: teacher.directory.path)) {
            try DenseExporter().export(teacher, to: student.directory.file("dense"))
        }
    }

    @Test("An output that is there is replaced only on request, and a stopped export leaves it as it was")
    func replaces() throws {
        struct Stop: Error {}
        let student = try RandomStudent()
        let output = try student.directory.write("old", as: "student.gguf")
        #expect(throws: FileError.self) { try GGUFExporter().export(student.checkpoint, to: output) }
        #expect(throws: Stop.self) {
            try GGUFExporter().export(student.checkpoint, to: output, overwrite: true) { _, _ in throw Stop() }
        }
        #expect(try String(contentsOf: output, encoding: .utf8) == "old")
        #expect(try student.directory.entries == ["packed", "start", "student.gguf", "teacher"])
        _ = try GGUFExporter().export(student.checkpoint, to: output, overwrite: true)
        #expect(try GGUFFile(contentsOf: output).storedTensors.count > 10)
    }
}

/// `QuantizationConfiguration.InputScales.shared`.
@Suite("Shared input scales")
struct SharedInputScalesTests {
    @Test("A start shares g among layers of one input and query heads of a group, and config.json says so")
    func start() throws {
        let student = try RandomStudent(isPacked: false).checkpoint
        #expect(student.configuration.quantization?.inputScales == .shared)
        for layer in 0..<2 {
            let block = student.configuration.block(layer)
            func g(_ linear: LinearDescription?) throws -> [Float] {
                try student.floats(of: #require(linear).inputScaleName)
            }
            #expect(try g(block.query) == g(block.key) && g(block.query) == g(block.value))
            #expect(try g(block.gate) == g(block.up))
            // Three groups of two heads of four channels.
            let output = try g(block.output)
            for channel in output.indices where channel % 8 < 4 { #expect(output[channel] == output[channel + 4]) }
            #expect(try Set(g(block.query)).count > 4 && Set(output).count > 4)
        }
    }

    @Test("h is the least-squares fit to each layer's magnitudes with the shared g")
    func leastSquares() throws {
        let student = try RandomStudent(isPacked: false)
        let teacher = try Checkpoint(directory: student.directory.file("teacher"))
        for linear in teacher.configuration.blockLinears(layer: 0) {
            let weight = try teacher.floats(of: linear.weightName)
            let g = try student.checkpoint.floats(of: linear.inputScaleName)
            let h = try student.checkpoint.floats(of: linear.outputScaleName)
            let square = g.reduce(0) { $0 + $1 * $1 }
            for row in 0..<linear.outputs {
                let fit = (0..<linear.inputs).reduce(Float(0)) {
                    $0 + weight[row * linear.inputs + $1].magnitude * g[$1]
                }
                #expect((h[row] - fit / square).magnitude < 1e-3 * h[row], "\(linear.name)")
            }
        }
    }
}
