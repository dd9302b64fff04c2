import Foundation
import JSON
import ModelDescription
import TensorFiles
import TestSupport
import Testing

@testable import ModelFiles

@Suite("A GGUF file's metadata as config.json")
struct GGUFArchitectureTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func configuration(_ fixture: GGUFFixture) throws -> ModelConfiguration {
        try ModelConfiguration(contentsOf: fixture.write(to: directory).appending(path: "config.json"))
    }

    /// The key, where the file is refused because of what the key asks for.
    private func refusedKey(_ fixture: GGUFFixture) throws -> String? {
        let error = #expect(throws: GGUFError.self) { try configuration(fixture) }
        switch error {
        case .unsupportedValue(_, let key, _, _), .missingKey(_, let key), .wrongValue(_, let key, _, _): return key
        default: return nil
        }
    }

    @Test("Sizes, heads, positions and the tied head are read")
    func sizes() throws {
        let found = try configuration(GGUFFixture())
        #expect(found.vocabularySize == 12 && found.hiddenSize == 8 && found.intermediateSize == 10)
        #expect(found.layerCount == 1 && found.attentionHeadCount == 2 && found.keyValueHeadCount == 1)
        #expect(found.headSize == 4 && found.maximumPositions == 32 && found.normEpsilon == 1e-5)
        #expect(found.tiedEmbeddings)
        #expect(found.structure.positions == .rotary(RotaryPositions(base: 10_000)))
        var untied = GGUFFixture()
        untied.tensors.append(GGUFTensorDescription(name: "output.weight", type: .f16, shape: [12, 8]))
        #expect(try !configuration(untied).tiedEmbeddings)
    }

    @Test("An architecture that is not supported is refused by name, and so is a mixture of experts")
    func unsupported() throws {
        for name in ["gemma3n", "qwen2moe", "opt"] {
            #expect(try refusedKey(GGUFFixture(architecture: name)) == "general.architecture")
        }
        var experts = GGUFFixture()
        experts.metadata["llama.expert_count"] = .uint32(8)
        #expect(try refusedKey(experts) == "llama.expert_count")
    }

    @Test("What is not computed is refused by its key")
    func notComputed() throws {
        func key(_ key: String, _ value: GGUFValue, of architecture: String = "llama") throws -> String? {
            var fixture = GGUFFixture(architecture: architecture)
            fixture.metadata[key] = value
            return try refusedKey(fixture)
        }
        #expect(try key("llama.rope.dimension_count", .uint32(2)) == "llama.rope.dimension_count")
        #expect(try key("llama.attention.value_length", .uint32(2)) == "llama.attention.value_length")
        #expect(try key("llama.rope.scaling.type", .string("longrope")) == "llama.rope.scaling.type")
        #expect(try key("llama.rope.scaling.attn_factor", .float32(2)) == "llama.rope.scaling.attn_factor")
        #expect(try key("llama.block_count", .uint32(0)) == "llama.block_count")
        #expect(try key("llama.context_length", .string("x")) == "llama.context_length")
        #expect(
            try key("llama.attention.head_count", .array(GGUFArray([2, 4] as [Int32]))) == "llama.attention.head_count")
        #expect(try key("qwen2.attention.key_length", .uint32(8), of: "qwen2") == "qwen2.attention.key_length")
    }

    @Test("A key that is not known is refused by name, and allowed as in config.json")
    func unknownKey() throws {
        var fixture = GGUFFixture()
        fixture.metadata["llama.logit_scale"] = .float32(2)
        let url = try fixture.write(to: directory)
        let error = #expect(throws: ConfigurationError.self) { try Checkpoint(directory: url) }
        guard case .unknownKeys(_, ["llama.logit_scale"], _)? = error else { return fail("another error") }
        #expect(try Checkpoint(directory: url, unknownKeys: .allowed).configuration.warnings.count == 1)
    }

    @Test("A sliding window makes a llama a Mistral")
    func mistral() throws {
        var fixture = GGUFFixture()
        fixture.metadata["llama.attention.sliding_window"] = .uint32(5)
        let found = try configuration(fixture)
        #expect(found.modelType == "mistral" && found.structure.slidingWindow == 5)
    }

    @Test("Rotary scaling: none, linear, LLaMA 3's from its divisors; other divisors are refused")
    func scaling() throws {
        var linear = GGUFFixture()
        linear.metadata["llama.rope.scaling.type"] = .string("linear")
        linear.metadata["llama.rope.scaling.factor"] = .float32(4)
        #expect(
            try configuration(linear).structure.positions
                == .rotary(RotaryPositions(base: 10_000, scaling: .linear(factor: 4))))
        // The fixture's weights count up from -1: divisors of no model.
        var factors = GGUFFixture()
        factors.tensors.append(GGUFTensorDescription(name: "rope_freqs.weight", type: .f32, shape: [2]))
        #expect(try refusedKey(factors) == "rope_freqs.weight")
    }

    @Test("Gemma's windows are every other layer, or what a period or an array says, or the file is refused")
    func windows() throws {
        func fixture(_ architecture: String, _ values: [String: GGUFValue]) -> GGUFFixture {
            var fixture = GGUFFixture(architecture: architecture)
            fixture.metadata["\(architecture).block_count"] = .uint32(4)
            for (key, value) in values { fixture.metadata["\(architecture).attention.\(key)"] = value }
            return fixture
        }
        func layers(_ architecture: String, _ values: [String: GGUFValue]) throws -> Set<Int> {
            try configuration(fixture(architecture, values)).structure.windowedLayers
        }
        let pattern = "sliding_window_pattern"
        #expect(try layers("gemma2", [:]) == [0, 2])
        #expect(try configuration(fixture("gemma2", [:])).structure.slidingWindow == 4096)
        #expect(try configuration(fixture("gemma2", [:])).structure.attentionSoftCap == 50)
        #expect(try layers("gemma2", ["sliding_window": .uint32(8), pattern: .uint32(4)]) == [0, 1, 2])
        #expect(try layers("gemma3", [:]).isEmpty)
        #expect(try layers("gemma3", ["sliding_window": .uint32(8)]) == [0, 1, 2, 3])
        let truths = GGUFArray([false, true, true, false])
        #expect(try layers("gemma3", ["sliding_window": .uint32(8), pattern: .array(truths)]) == [1, 2])
        let numbers = GGUFArray([0, 1, 0, 0] as [Int32])
        #expect(try layers("gemma3", ["sliding_window": .uint32(8), pattern: .array(numbers)]) == [1])
        for array in [GGUFArray([true]), GGUFArray(["a", "b", "c", "d"])] {
            #expect(
                try refusedKey(fixture("gemma3", [pattern: .array(array)])) == "gemma3.attention.\(pattern)")
        }
    }

    @Test("Tensors that are missing, or that the model does not have, are refused by name")
    func tensors() throws {
        var missing = GGUFFixture()
        missing.tensors.removeAll { $0.name == "blk.0.ffn_up.weight" }
        let url = try missing.write(to: directory)
        #expect(
            throws: CheckpointError.missingTensor(directory: url.path, tensor: "model.layers.0.mlp.up_proj.weight")
        ) { try Checkpoint(directory: url) }
        var other = GGUFFixture()
        other.tensors.append(GGUFTensorDescription(name: "blk.0.ffn_gate_inp.weight", type: .f32, shape: [8, 8]))
        try other.write(to: directory)
        let error = #expect(throws: CheckpointError.self) { try Checkpoint(directory: url) }
        guard case .unexpectedTensor(_, "blk.0.ffn_gate_inp.weight", _)? = error else { return fail("another error") }
    }

    @Test("A model that was split is read from its first file, and refused where one is missing")
    func splits() throws {
        let whole = GGUFFixture()
        var (first, second) = (whole, GGUFFixture())
        first.metadata["split.count"] = .uint16(2)
        first.metadata["split.no"] = .uint16(0)
        first.tensors = Array(whole.tensors.prefix(4))
        second.metadata = GGUFMetadata(file: "")
        second.metadata["split.no"] = .uint16(1)
        second.tensors = Array(whole.tensors.dropFirst(4))
        let url = try first.write(to: directory, as: "x-00001-of-00002.gguf")
        #expect(throws: GGUFError.missingSplit(file: url.path, split: "x-00002-of-00002.gguf")) {
            try Checkpoint(directory: url)
        }
        let last = try second.write(to: directory, as: "x-00002-of-00002.gguf")
        let (found, expected) = (try Checkpoint(directory: url), try Checkpoint(directory: whole.write(to: directory)))
        #expect(found.tensors == expected.tensors)
        for name in expected.tensors.keys { #expect(try found.floats(of: name) == expected.floats(of: name)) }
        #expect(throws: GGUFError.self) { try Checkpoint(directory: last) }
    }

    @Test("A plain file of another kind is refused as one")
    func otherFile() throws {
        let url = try directory.write("{}", as: "model.safetensors")
        let error = #expect(throws: GGUFError.self) { try Checkpoint(directory: url) }
        guard case .notGGUF? = error else { return fail("another error") }
    }
}
