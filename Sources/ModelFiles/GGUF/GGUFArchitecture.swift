import Foundation
import JSON
import TensorFiles

/// What the metadata of a GGUF file say of a model's structure, as Hugging Face's `config.json` says it.
///
/// Keys and tensor names are those of ggml's `docs/gguf.md` and of the `gguf` package's `constants.py` and `tensor_mapping.py`.
struct GGUFArchitecture {
    /// An architecture of llama.cpp, and the family that it is.
    private struct Kind {
        /// `general.architecture`.
        let name: String
        let modelType: String
        let architecture: String
        /// Whether the converter reorders the rows of queries and keys.
        var reordersRotaryRows = false
        /// Whether a head's size can be another one than width over heads.
        var hasHeadSize = true
        /// Whether a part of each head's channels may be rotated.
        var rotatesParts = false
        /// Whether the norms are LayerNorms.
        var hasLayerNorm = false
        /// Whether q, k and v are one matrix, and gate and up.
        var fusesMatrices = false
        /// Stems of tensor names in a block that are others than most have.
        var blockNames: [String: String] = [:]
        /// What the family's norms have less than the file's, which count from 0.
        var normAddend: Float = 0
        /// Keys of the architecture's own that are read.
        var keys: Set<String> = []
        /// Of Gemma: the layers of the model whose scores are scaled by width over heads, and how often a layer sees
        /// everything.
        var gemma: (largestLayerCount: Int, fullLayerEvery: Int)?
    }

    /// llama.cpp has no architecture for OPT. A Mistral is a `llama` there.
    private static let kinds = [
        Kind(name: "llama", modelType: "llama", architecture: "LlamaForCausalLM", reordersRotaryRows: true),
        Kind(name: "qwen2", modelType: "qwen2", architecture: "Qwen2ForCausalLM", hasHeadSize: false),
        Kind(name: "qwen3", modelType: "qwen3", architecture: "Qwen3ForCausalLM"),
        Kind(name: "smollm3", modelType: "smollm3", architecture: "SmolLM3ForCausalLM", reordersRotaryRows: true),
        Kind(
            name: "olmo2", modelType: "olmo2", architecture: "Olmo2ForCausalLM", hasHeadSize: false,
            blockNames: [
                "post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm",
            ]),
        Kind(
            name: "granite", modelType: "granite", architecture: "GraniteForCausalLM", reordersRotaryRows: true,
            keys: ["embedding_scale", "residual_scale", "attention.scale", "logit_scale"]),
        Kind(
            name: "phi3", modelType: "phi3", architecture: "Phi3ForCausalLM", hasHeadSize: false, rotatesParts: true,
            fusesMatrices: true),
        Kind(
            name: "stablelm", modelType: "stablelm", architecture: "StableLmForCausalLM", hasHeadSize: false,
            rotatesParts: true, hasLayerNorm: true,
            // Which converters write as true where a configuration does not say. A model whose sublayers are side by side has no second norm, and is refused
            // for that.
            keys: ["use_parallel_residual"]),
        Kind(
            name: "gemma2", modelType: "gemma2", architecture: "Gemma2ForCausalLM", blockNames: gemmaBlockNames,
            normAddend: -1, keys: gemmaKeys.union(["attn_logit_softcapping"]), gemma: (46, 2)),
        Kind(
            name: "gemma3", modelType: "gemma3_text", architecture: "Gemma3ForCausalLM", blockNames: gemmaBlockNames,
            normAddend: -1, keys: gemmaKeys.union(["rope.freq_base_swa"]), gemma: (62, 6)),
    ]

    private static let gemmaBlockNames = [
        "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    ]
    private static let gemmaKeys: Set = ["attention.sliding_window_pattern", "final_logit_softcapping"]

    /// Stems of tensor names outside of the blocks.
    private static let outerNames = [
        "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    ]
    /// Stems of tensor names in a block.
    private static let blockNames = [
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    ]
    /// The factors of LLaMA 3's rotary scaling, which are computed from `config.json`.
    private static let rotaryFactors = "rope_freqs.weight"

    private let metadata: GGUFMetadata
    private let kind: Kind
    private let tensors: [String: GGUFTensorDescription]
    private let rotaryFactors: [Float]?
    private let headCount: Int
    private let keyValueHeadCount: Int
    private let headSize: Int

    /// Reads what says which model it is.
    ///
    /// - Parameter files: of the model, the first before the others.
    /// - Throws: `GGUFError`.
    init(_ files: [GGUFFile]) throws {
        metadata = files[0].metadata
        let name = try metadata.required("general.architecture", metadata.string("general.architecture"))
        guard let kind = Self.kinds.first(where: { $0.name == name }) else {
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: "general.architecture", found: "\"\(name)\"",
                supported: Self.kinds.map(\.name).joined(separator: ", "))
        }
        self.kind = kind
        tensors = Dictionary(files.flatMap(\.storedTensors).map { ($0.name, $0) }) { first, _ in first }
        rotaryFactors = try files.first { $0.tensors[Self.rotaryFactors] != nil }?.floats(of: Self.rotaryFactors)
        let width = try metadata.required(
            "\(name).embedding_length", metadata.integer("\(name).embedding_length", in: 1...1 << 18))
        headCount = try metadata.required(
            "\(name).attention.head_count", Self.count("\(name).attention.head_count", metadata))
        keyValueHeadCount = try Self.count("\(name).attention.head_count_kv", metadata) ?? headCount
        headSize = try metadata.integer("\(name).attention.key_length", in: 1...1 << 16) ?? width / headCount
    }

    /// A number that an array may give for each layer, as long as it is the same.
    private static func count(_ key: String, _ metadata: GGUFMetadata) throws -> Int? {
        guard case .array = metadata[key] else { return try metadata.integer(key, in: 1...4096) }
        let counts = try metadata.integers(key) ?? []
        guard let first = counts.first, counts.allSatisfy({ $0 == first }), (1...4096).contains(first) else {
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: key, found: "different in some layers", supported: "one number for all layers"
            )
        }
        return first
    }

    // MARK: Tensors

    /// Where a tensor goes, or its parts; nowhere what only the converter computed. A name that is not known stays as it is: the
    /// model has no such tensor, which is refused where its tensors are held against its configuration.
    func places(of tensor: GGUFTensorDescription) -> [GGUFTensors.Place] {
        if tensor.name == Self.rotaryFactors { return [] }
        guard let dot = tensor.name.lastIndex(of: ".") else { return [GGUFTensors.Place(name: tensor.name)] }
        let (stem, ending) = (String(tensor.name[..<dot]), tensor.name[dot...])
        let addend = stem.hasSuffix("norm") ? kind.normAddend : 0
        if let name = Self.outerNames[stem] { return [GGUFTensors.Place(name: name + ending, addend: addend)] }
        let parts = stem.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "blk", let layer = Int(parts[1]), String(layer) == parts[1],
            let name = kind.blockNames[String(parts[2])] ?? Self.blockNames[String(parts[2])]
                ?? (kind.fusesMatrices && parts[2] == "attn_qkv" ? "" : nil)
        else { return [GGUFTensors.Place(name: tensor.name)] }
        let prefix = "model.layers.\(layer)."
        if kind.fusesMatrices, ["attn_qkv", "ffn_up"].contains(parts[2]) {
            var row = 0
            return fusedRows(String(parts[2]), of: tensor).map { name, rows in
                defer { row += rows }
                return GGUFTensors.Place(name: prefix + name + ending, rows: row..<row + rows)
            }
        }
        let isRotated = kind.reordersRotaryRows && ["attn_q", "attn_k"].contains(parts[2])
        return [
            GGUFTensors.Place(
                name: prefix + name + ending, rowOrder: isRotated ? RotaryRowOrder(headSize: headSize) : nil,
                addend: addend)
        ]
    }

    /// The matrices that one holds, one below the other, and their rows.
    private func fusedRows(_ part: String, of tensor: GGUFTensorDescription) -> [(name: String, rows: Int)] {
        let rows = tensor.shape[0]
        if part == "ffn_up" { return [("mlp.gate_proj", rows / 2), ("mlp.up_proj", rows - rows / 2)] }
        let (queries, keys) = (headCount * headSize, keyValueHeadCount * headSize)
        return [("self_attn.q_proj", queries), ("self_attn.k_proj", keys), ("self_attn.v_proj", keys)]
    }

    // MARK: config.json

    /// `config.json`, of the keys that the family's own has.
    ///
    /// - Throws: `GGUFError`, `TensorFileError.noSuchTensor` where there is no embedding: the file of a vocabulary alone.
    func configuration() throws -> JSONObject {
        guard let embedding = tensors["token_embd.weight"] else {
            throw TensorFileError.noSuchTensor(file: metadata.file, tensor: "token_embd.weight")
        }
        let window = kind.modelType == "llama" ? try slidingWindow() : nil
        let modelType = window == nil ? kind.modelType : "mistral"
        let architecture = window == nil ? kind.architecture : "MistralForCausalLM"
        let positions = try required("context_length", in: 1...Int(Int32.max))
        try refuseOtherStructures()

        var config = JSONObject([
            ("architectures", .array([.string(architecture)])),
            ("model_type", .string(modelType)),
            ("vocab_size", .integer(embedding.shape[0])),
            ("hidden_size", .integer(try required("embedding_length", in: 1...1 << 18))),
            ("intermediate_size", .integer(try required("feed_forward_length", in: 1...1 << 20))),
            ("num_hidden_layers", .integer(try required("block_count", in: 1...4096))),
            ("num_attention_heads", .integer(headCount)),
            ("num_key_value_heads", .integer(keyValueHeadCount)),
            ("max_position_embeddings", .integer(positions)),
            kind.hasLayerNorm
                ? ("layer_norm_eps", try number("attention.layer_norm_epsilon") ?? JSONValue(Float(1e-5)))
                : ("rms_norm_eps", try number("attention.layer_norm_rms_epsilon") ?? JSONValue(Float(1e-6))),
            ("rope_theta", try number("rope.freq_base") ?? JSONValue(Float(10_000))),
            ("rope_scaling", try rotaryScaling(positions: positions)),
            ("tie_word_embeddings", .boolean(tensors["output.weight"] == nil)),
            ("bos_token_id", try token("bos")),
            ("eos_token_id", try token("eos")),
            (
                "torch_dtype",
                .string(embedding.type == .f32 ? "float32" : embedding.type == .bf16 ? "bfloat16" : "float16")
            ),
        ])
        if kind.hasHeadSize { config["head_dim"] = .integer(headSize) }
        if kind.gemma == nil { config["hidden_act"] = .string("silu") }
        for (key, value) in try keysOfFamily(modelType, window: window) { config[key] = value }
        for (key, value) in unknownKeys { config[key] = value }
        return config
    }

    /// The keys that not every family has.
    private func keysOfFamily(_ modelType: String, window: JSONValue?) throws -> [(String, JSONValue)] {
        let hasAttentionBiases = JSONValue.boolean(tensors["blk.0.attn_q.bias"] != nil)
        switch modelType {
        case "llama":
            return [
                ("attention_bias", hasAttentionBiases),
                ("mlp_bias", .boolean(tensors["blk.0.ffn_up.bias"] != nil)),
            ]
        case "mistral": return [("sliding_window", window ?? .null)]
        case "qwen2": return [("use_sliding_window", .boolean(false))]
        case "olmo2": return []
        case "granite":
            return [
                ("attention_bias", hasAttentionBiases),
                ("embedding_multiplier", try number("embedding_scale") ?? .integer(1)),
                ("attention_multiplier", try number("attention.scale") ?? JSONValue(1 / Float(headSize).squareRoot())),
                ("residual_multiplier", try number("residual_scale") ?? .integer(1)),
                ("logits_scaling", try number("logit_scale") ?? .integer(1)),
            ]
        case "phi3":
            return [("sliding_window", try slidingWindow() ?? .null), ("partial_rotary_factor", try rotatedFraction())]
        case "stablelm":
            return [("use_qkv_bias", hasAttentionBiases), ("partial_rotary_factor", try rotatedFraction())]
        case "gemma2":
            return try gemmaKeys() + [
                ("attn_logit_softcapping", try number("attn_logit_softcapping") ?? .integer(50)),
                ("final_logit_softcapping", try number("final_logit_softcapping") ?? .integer(30)),
            ]
        case "gemma3_text":
            return try gemmaKeys() + [
                ("final_logit_softcapping", try number("final_logit_softcapping") ?? .null),
                ("rope_local_base_freq", try number("rope.freq_base_swa") ?? .integer(10_000)),
            ]
        default: return [("attention_bias", hasAttentionBiases), ("use_sliding_window", .boolean(false))]
        }
    }

    private func rotatedFraction() throws -> JSONValue {
        let channels = try metadata.integer("\(kind.name).rope.dimension_count", in: 1...headSize) ?? headSize
        return .number(Double(channels) / Double(headSize))
    }

    /// Of Gemma's families.
    private func gemmaKeys() throws -> [(String, JSONValue)] {
        guard let gemma = kind.gemma else { return [] }
        let layers = try required("block_count", in: 1...4096)
        let width = try required("embedding_length", in: 1...1 << 18)
        // Scores are scaled by the root of this.
        let scalar = layers == gemma.largestLayerCount ? width / headCount : headSize
        let key = "\(kind.name).attention.sliding_window_pattern"
        var windowed = (0..<layers).map { ($0 + 1) % gemma.fullLayerEvery != 0 }
        if case .array(let array) = metadata[key] {
            guard let found = array.booleans, found.count == layers else {
                throw GGUFError.wrongValue(
                    file: metadata.file, key: key, expected: "\(layers) truths, one a layer", found: "\(array.count)")
            }
            windowed = found
        } else if let period = try metadata.integer(key, in: 1...4096) {
            windowed = windowed.indices.map { ($0 + 1) % period != 0 }
        }
        // llama.cpp has Gemma 2's window where the file has none, and no windows in such a file of Gemma 3's.
        let window = try slidingWindow() ?? (kind.name == "gemma2" ? .integer(4096) : nil)
        if window == nil { windowed = windowed.map { _ in false } }
        return [
            ("hidden_activation", .string("gelu_pytorch_tanh")), ("query_pre_attn_scalar", .integer(scalar)),
            ("attention_bias", .boolean(tensors["blk.0.attn_q.bias"] != nil)), ("sliding_window", window ?? .null),
            ("layer_types", .array(windowed.map { .string($0 ? "sliding_attention" : "full_attention") })),
        ]
    }

    /// `generation_config.json`: the tokens that end a text. llama.cpp has a key for each: end of text, of turn, of message.
    func generationConfiguration() throws -> JSONObject {
        var ends: [JSONValue] = []
        for name in ["eos", "eot", "eom"] {
            let token = try token(name)
            if token != .null, !ends.contains(token) { ends.append(token) }
        }
        return JSONObject([
            ("bos_token_id", try token("bos")), ("eos_token_id", ends.count == 1 ? ends[0] : .array(ends)),
        ])
    }

    private func token(_ name: String) throws -> JSONValue {
        let standard = try metadata.string("tokenizer.ggml.model") == "llama" ? ["bos": 1, "eos": 2][name] : nil
        let id = try metadata.integer("tokenizer.ggml.\(name)_token_id", in: 0...Int(UInt32.max)) ?? standard
        // All bits set stand for none.
        return id.flatMap { $0 == Int(UInt32.max) ? nil : .integer($0) } ?? .null
    }

    private func required(_ key: String, in bounds: ClosedRange<Int>) throws -> Int {
        let key = "\(kind.name).\(key)"
        return try metadata.required(key, metadata.integer(key, in: bounds))
    }

    /// A number in the single precision in which llama.cpp computes with it.
    private func number(_ key: String) throws -> JSONValue? {
        try metadata.positiveNumber("\(kind.name).\(key)").map { JSONValue(Float($0)) }
    }

    private func slidingWindow() throws -> JSONValue? {
        let window = try metadata.integer("\(kind.name).attention.sliding_window", in: 0...Int(Int32.max)) ?? 0
        return window > 0 ? .integer(window) : nil
    }

    // MARK: Rotary positions

    private func rotaryScaling(positions: Int) throws -> JSONValue {
        if let factors = rotaryFactors { return try llama3Scaling(factors) }
        let prefix = "\(kind.name).rope"
        let type = try metadata.string("\(prefix).scaling.type") ?? "linear"
        let factor =
            try metadata.positiveNumber("\(prefix).scaling.factor") ?? metadata.positiveNumber("\(prefix).scale_linear")
            ?? 1
        switch type {
        case "none": return .null
        case "linear":
            return factor == 1
                ? .null : scaling([("rope_type", .string("linear")), ("factor", JSONValue(Float(factor)))])
        case "yarn":
            let original = try metadata.integer("\(prefix).scaling.original_context_length", in: 1...Int(Int32.max))
            return scaling([
                ("rope_type", .string("yarn")), ("factor", JSONValue(Float(factor))),
                ("original_max_position_embeddings", .integer(original ?? positions)),
            ])
        default:
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: "\(prefix).scaling.type", found: "\"\(type)\"",
                supported: "\"none\", \"linear\" and \"yarn\"")
        }
    }

    private func scaling(_ members: [(String, JSONValue)]) -> JSONValue { .object(JSONObject(members)) }

    /// LLaMA 3's scaling, of which a GGUF file has the divisors of the frequencies and not the parameters: the largest divisor is
    /// the factor, and the other parameters are those of every published model, 1, 4 and 8192 positions, or another power of
    /// two of them. Divisors that these do not give are refused.
    private func llama3Scaling(_ factors: [Float]) throws -> JSONValue {
        let (low, high): (Float, Float) = (1, 4)
        let factor = factors.max() ?? 1
        let base = Float(try metadata.positiveNumber("\(kind.name).rope.freq_base") ?? 10_000)
        let original = ([8192] + (4...20).map { Float(1 << $0) }).first { original in
            factors.enumerated().allSatisfy { index, found in
                let wavelength = 2 * Float.pi * pow(base, Float(2 * index) / Float(headSize))
                let smooth = min(max((original / wavelength - low) / (high - low), 0), 1)
                return abs(found * ((1 - smooth) / factor + smooth) - 1) < 1e-4
            }
        }
        guard let original, factors.count == headSize / 2 else {
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: Self.rotaryFactors, found: "\(factors.count) divisors up to \(factor)",
                supported: "those of LLaMA 3.1 and later: low_freq_factor 1, high_freq_factor 4")
        }
        if factor == 1 { return .null }
        return scaling([
            ("rope_type", .string("llama3")), ("factor", JSONValue(factor)),
            ("low_freq_factor", JSONValue(low)), ("high_freq_factor", JSONValue(high)),
            ("original_max_position_embeddings", .integer(Int(original))),
        ])
    }

    // MARK: What is not computed

    /// Keys that are read, or that say how a file was made.
    private static let knownKeys: Set = [
        "vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv", "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon",
        "attention.key_length", "attention.value_length",
        "attention.sliding_window", "rope.dimension_count", "rope.freq_base", "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scale_linear", "tensor_data_layout",
        "expert_count", "expert_used_count",
    ]

    /// The architecture's other keys, under their own names, which no `config.json` has: a configuration that is read with them
    /// is refused by name like one of unknown keys, or goes on with a warning.
    private var unknownKeys: [(String, JSONValue)] {
        metadata.keys.filter { $0.hasPrefix("\(kind.name).") }.compactMap { key in
            let own = String(key.dropFirst(kind.name.count + 1))
            if Self.knownKeys.contains(own) || kind.keys.contains(own) { return nil }
            switch metadata[key] {
            case .string(let value): return (key, .string(value))
            case .bool(let value): return (key, .boolean(value))
            case let value?: return (key, value.number.map { JSONValue(Float($0)) } ?? .string("array"))
            case nil: return nil
            }
        }
    }

    private func refuseOtherStructures() throws {
        func refuse(_ key: String, _ found: Int?, _ supported: Int, _ description: String) throws {
            guard let found, found != supported else { return }
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: "\(kind.name).\(key)", found: "\(found)", supported: description)
        }
        func integer(_ key: String) throws -> Int? { try metadata.integer("\(kind.name).\(key)", in: 0...1 << 30) }
        try refuse("expert_count", try integer("expert_count"), 0, "no mixture of experts")
        try refuse(
            "attention.value_length", try integer("attention.value_length"), headSize, "\(headSize), as key_length")
        if !kind.rotatesParts {
            try refuse(
                "rope.dimension_count", try integer("rope.dimension_count"), headSize,
                "\(headSize), all channels of a head")
        }
        if !kind.hasHeadSize {
            let width = try required("embedding_length", in: 1...1 << 18)
            try refuse("attention.key_length", headSize, width / headCount, "\(width / headCount), width over heads")
        }
        let factor = metadata["\(kind.name).rope.scaling.attn_factor"]?.number ?? 1
        guard factor == 1 else {
            throw GGUFError.unsupportedValue(
                file: metadata.file, key: "\(kind.name).rope.scaling.attn_factor", found: "\(factor)", supported: "1")
        }
    }
}
