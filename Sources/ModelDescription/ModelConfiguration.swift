import Foundation
import JSON
import ModelFiles
import TensorFiles

/// Shape and constants of a model: a validated `config.json`.
///
/// Every number is positive and bounded such that no product of them, over all layers, overflows 64 bits.
public struct ModelConfiguration: Sendable, Hashable {
    /// `model_type`, the family's name.
    public let modelType: String
    /// `vocab_size`: rows of the embedding, and logits of a position. Token ids are below it; a tokenizer may have fewer
    /// tokens, since families pad their tables (every Qwen does).
    public let vocabularySize: Int
    /// Width of the residual stream.
    public let hiddenSize: Int
    /// Width of the MLP.
    public let intermediateSize: Int
    /// Number of transformer blocks.
    public let layerCount: Int
    /// Query heads.
    public let attentionHeadCount: Int
    /// Key and value heads; divides `attentionHeadCount`.
    public let keyValueHeadCount: Int
    /// Channels per head; even where positions are rotary.
    public let headSize: Int
    /// Longest sequence that the model was made for, in tokens: what rotary scaling stretches `max_position_embeddings` to,
    /// that number otherwise.
    public let maximumPositions: Int
    /// Epsilon of the norms.
    public let normEpsilon: Float
    /// What the model computes, apart from its sizes.
    public let structure: DecoderStructure
    /// Whether the output projection is the embedding itself.
    public let tiedEmbeddings: Bool
    /// Token that begins a text: `config.json`'s, or else `generation_config.json`'s.
    public let beginOfSequence: Int?
    /// Tokens that end a text: `config.json`'s, then those that `generation_config.json` adds.
    public let endOfSequence: [Int]
    /// How the linear layers are stored; nil in a dense checkpoint.
    public let quantization: QuantizationConfiguration?
    /// Sentences for a user about what has no effect in the files: token ids without a row of the embedding, keys that are
    /// ignored.
    public let warnings: [String]

    /// The family's own keys as read.
    let source: JSONObject
    let family: ModelFamily

    /// Reads `config.json`, and the tokens that begin and end a text in `generation_config.json` beside it, where it is.
    /// Of two equal keys the later one counts, as in transformers.
    ///
    /// - Parameters:
    ///   - url: of `config.json`.
    ///   - unknownKeys: what to do about keys of which this version does not know what they change.
    /// - Throws: ``ConfigurationError``, `JSONNodeError`, `FileError`.
    public init(contentsOf url: URL, unknownKeys: UnknownKeys = .refused) throws {
        let generation = url.deletingLastPathComponent().appending(path: "generation_config.json")
        try self.init(
            Self.node(url), generation: ModelFile.exists(generation) ? Self.node(generation) : nil,
            unknownKeys: unknownKeys)
    }

    private static func node(_ url: URL) throws -> JSONNode {
        try ModelFile.contents(of: url).withUnsafeBytes {
            try JSONNode(parsing: $0, file: url.path, duplicateKeys: .lastCounts)
        }
    }

    /// A dense LLaMA configuration that is in no file yet.
    ///
    /// - Throws: ``ConfigurationError`` or `JSONNodeError` when the numbers do not fit together.
    public init(
        vocabularySize: Int,
        hiddenSize: Int,
        intermediateSize: Int,
        layerCount: Int,
        attentionHeadCount: Int,
        keyValueHeadCount: Int? = nil,
        maximumPositions: Int,
        normEpsilon: Float = 1e-5,
        ropeTheta: Float = 10_000,
        tiedEmbeddings: Bool,
        beginOfSequence: Int? = 1,
        endOfSequence: [Int] = [2],
        storedType: ElementType = .float32
    ) throws {
        let ends = endOfSequence.map { JSONValue.integer($0) }
        try self.init(
            JSONObject([
                ("architectures", .array([.string(ModelFamily.llama.architecture)])),
                ("model_type", .string(ModelFamily.llama.modelType)),
                ("vocab_size", .integer(vocabularySize)),
                ("hidden_size", .integer(hiddenSize)),
                ("intermediate_size", .integer(intermediateSize)),
                ("num_hidden_layers", .integer(layerCount)),
                ("num_attention_heads", .integer(attentionHeadCount)),
                ("num_key_value_heads", .integer(keyValueHeadCount ?? attentionHeadCount)),
                ("hidden_act", .string("silu")),
                ("max_position_embeddings", .integer(maximumPositions)),
                ("rms_norm_eps", JSONValue(normEpsilon)),
                ("rope_theta", JSONValue(ropeTheta)),
                ("rope_scaling", .null),
                ("attention_bias", .boolean(false)),
                ("mlp_bias", .boolean(false)),
                ("tie_word_embeddings", .boolean(tiedEmbeddings)),
                ("bos_token_id", beginOfSequence.map { .integer($0) } ?? .null),
                ("eos_token_id", ends.count == 1 ? ends[0] : .array(ends)),
                ("torch_dtype", .string(storedType.configurationName ?? "float32")),
            ]))
    }

    /// The configuration of a dense model of any family that is in no file yet.
    ///
    /// - Parameter keys: what `config.json` would hold.
    /// - Throws: ``ConfigurationError``, `JSONNodeError`.
    package init(_ keys: JSONObject) throws {
        try self.init(JSONNode(.object(keys), file: "configuration"), generation: nil, unknownKeys: .refused)
    }

    /// The same model with its first blocks alone: what one block costs is measured on it.
    package func prefix(layers count: Int) throws -> ModelConfiguration {
        var keys = source
        keys["num_hidden_layers"] = .integer(count)
        if case .array(let types)? = keys["layer_types"] { keys["layer_types"] = .array(Array(types.prefix(count))) }
        return try ModelConfiguration(
            JSONNode(.object(keys), file: "configuration"), generation: nil, unknownKeys: .allowed)
    }

    private init(_ config: JSONNode, generation: JSONNode?, unknownKeys: UnknownKeys) throws {
        let paperQuantization = try QuantizationConfiguration(ofPaperRelease: config)
        let config = try paperQuantization == nil ? config : Self.asLlama(config)
        let family = try ModelFamily.named(by: config)
        self.family = family
        modelType = family.modelType
        var warnings = try family.keys.check(config, modelType: modelType, unknownKeys: unknownKeys)
        var source = try config.object()
        source["quantization_config"] = nil
        self.source = source

        let defaults = family.defaults
        vocabularySize = try config["vocab_size"].integer(in: 1...1 << 24)
        hiddenSize = try config["hidden_size"].integer(in: 1...1 << 18)
        intermediateSize = try config[family.intermediateSizeKey].integer(in: 1...1 << 20)
        layerCount = try config["num_hidden_layers"].integer(in: 1...4096)
        attentionHeadCount = try config["num_attention_heads"].integer(in: 1...4096)
        keyValueHeadCount =
            try family.value("num_key_value_heads", of: config, in: 1...4096, default: defaults.keyValueHeadCount)
            ?? attentionHeadCount
        let positions =
            try config["max_position_embeddings"].nonNull?.integer(in: 1...Int(Int32.max)) ?? defaults.maximumPositions
        guard attentionHeadCount % keyValueHeadCount == 0 else {
            throw ConfigurationError.inconsistent(
                file: config.file,
                reason: "\"num_attention_heads\" (\(attentionHeadCount)) is not a multiple of "
                    + "\"num_key_value_heads\" (\(keyValueHeadCount))"
            )
        }
        structure = try family.structure(
            config,
            ModelFamily.Sizes(hiddenSize: hiddenSize, layerCount: layerCount, maximumPositions: positions))
        headSize = try Self.headSize(
            config, family, hiddenSize: hiddenSize, headCount: attentionHeadCount, positions: structure.positions)
        if case .rotary(let rotary) = structure.positions {
            maximumPositions = rotary.stretched(positions)
            warnings += try rotary.warnings(config)
        } else {
            maximumPositions = positions
        }
        normEpsilon =
            try family.normEpsilonKey.flatMap { try config[$0].nonNull?.positiveNumber(atMost: 1) }
            ?? defaults.normEpsilon
        tiedEmbeddings = try config["tie_word_embeddings"].nonNull?.boolean() ?? defaults.tiesEmbeddings

        let rows = vocabularySize
        func tokens(_ key: String, default token: Int?) throws -> [Int] {
            let stated = try Self.tokens(config[key], below: rows, warnings: &warnings)
            let generation = try generation.flatMap { try Self.tokens($0[key], below: rows, warnings: &warnings) }
            return (stated ?? [token].compactMap { $0 }.filter { $0 < rows }) + (generation ?? [])
        }
        beginOfSequence = try tokens("bos_token_id", default: defaults.beginOfSequence).first
        var seen = Set<Int>()
        endOfSequence = try tokens("eos_token_id", default: defaults.endOfSequence).filter { seen.insert($0).inserted }
        quantization =
            try paperQuantization ?? config["quantization_config"].nonNull.map(QuantizationConfiguration.init)
        self.warnings = warnings
    }

    /// The token ids of an integer or a list of integers; nil where the key is missing.
    ///
    /// Ids without a row of the embedding are left out with a warning: -1, which some files write for none, and
    /// those of another tokenizer. The model can never generate them.
    private static func tokens(_ node: JSONNode?, below count: Int, warnings: inout [String]) throws -> [Int]? {
        guard let node, !node.isMissing else { return nil }
        guard !node.isNull else { return [] }
        let ids = if case .array = node.value { try node.integers() } else { [try node.integer()] }
        let valid = ids.filter { (0..<count).contains($0) }
        if let first = ids.first(where: { !(0..<count).contains($0) }) {
            let others = ids.count - valid.count - 1
            warnings.append(
                "\(node.file): \"\(node.path)\" names the token \(first)\(others > 0 ? " and \(others) more" : ""), but the "
                    + "model's tokens are 0 to \(count - 1). It has no effect.")
        }
        return valid
    }

    private static func headSize(
        _ config: JSONNode, _ family: ModelFamily, hiddenSize: Int, headCount: Int,
        positions: DecoderStructure.Positions
    ) throws -> Int {
        let stated = try family.value("head_dim", of: config, in: 1...1 << 16, default: family.defaults.headSize)
        guard stated != nil || hiddenSize % headCount == 0 else {
            throw ConfigurationError.inconsistent(
                file: config.file,
                reason: "\"hidden_size\" (\(hiddenSize)) is not a multiple of \"num_attention_heads\" (\(headCount))"
            )
        }
        let size = stated ?? hiddenSize / headCount
        if case .rotary(let rotary) = positions { try rotary.validate(headSize: size, file: config.file) }
        guard size * headCount <= 1 << 20 else {
            throw ConfigurationError.inconsistent(
                file: config.file,
                reason: "\"head_dim\" × \"num_attention_heads\" is \(size * headCount), above 1048576"
            )
        }
        return size
    }

    /// `config.json` of a dense checkpoint of this model, all tensors of which are of one type.
    public func jsonData(denseType: ElementType) throws -> Data {
        var object = source
        // transformers 5 calls it `dtype`, and reads both.
        let key = object["dtype"] == nil ? "torch_dtype" : "dtype"
        object[key] = denseType.configurationName.map { .string($0) }
        return Data((JSONValue.object(object).serialized(indentation: 2) + "\n").utf8)
    }

    /// `config.json` of a checkpoint of this model: the family's own keys as read, and how the linears are stored.
    public func jsonData(quantization: QuantizationConfiguration?) throws -> Data {
        var object = source
        if let quantization { object["quantization_config"] = quantization.json }
        return Data((JSONValue.object(object).serialized(indentation: 2) + "\n").utf8)
    }

    public static func == (left: Self, right: Self) -> Bool {
        left.source == right.source && left.endOfSequence == right.endOfSequence
            && left.quantization == right.quantization
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(source)
        hasher.combine(endOfSequence)
        hasher.combine(quantization)
    }
}

extension ModelFamily {
    /// An integer of a key that some families do not have. Missing is the family's default, null is nil.
    fileprivate func value(
        _ key: String, of config: JSONNode, in bounds: ClosedRange<Int>, default fallback: Int?
    ) throws -> Int? {
        guard keys.read.contains(key), !config[key].isMissing else { return fallback }
        return try config[key].nonNull?.integer(in: bounds)
    }
}

// MARK: The paper's release

extension ModelFamily {
    /// `model_type` of the checkpoints that the paper's authors released.
    static let paperModelType = "bitllama"
}

/// The paper's authors gave what is a LLaMA of one-bit linears a `model_type` of its own, and say by the class whether the
/// weights are packed. Tensor names and packed bits are ours; every linear is followed by a LayerNorm without parameters and
/// with PyTorch's ε, and the released vectors are float32. Where a latent weight is exactly 0 their training takes the sign
/// 0, their packing +1; here it is +1 always.
///
/// Source: github.com/xuyuzhuang11/OneBit at 42d6d7b, `models/bitllama`, `models/bitnet.py`,
/// `scripts/convert_llama_to_infer_ckpt.py`.
extension ModelConfiguration {
    /// The paper's configuration as one of LLaMA's.
    fileprivate static func asLlama(_ config: JSONNode) throws -> JSONNode {
        var object = try config.object()
        object["model_type"] = .string(ModelFamily.llama.modelType)
        object["architectures"] = .array([.string(ModelFamily.llama.architecture)])
        return JSONNode(.object(object), file: config.file)
    }
}

extension QuantizationConfiguration {
    /// How the linears of the paper's release are stored; nil where a configuration is not of that kind.
    ///
    /// - Throws: `JSONNodeError` when it does not say which of the two classes it belongs to.
    fileprivate init?(ofPaperRelease config: JSONNode) throws {
        guard try config["model_type"].string() == ModelFamily.paperModelType else { return nil }
        let node = config["architectures"]
        let format: CheckpointFormat
        switch try node.strings() {
        case ["BitLlamaForCausalLM"]: format = .float
        case ["BitLlamaForCausalLMInf"]: format = .packed
        default:
            throw node.unsupported(supported: "[\"BitLlamaForCausalLM\"] or [\"BitLlamaForCausalLMInf\"]")
        }
        self.init(
            checkpointFormat: format, postLayerNorm: true, layerNormEpsilon: 1e-5, valueType: .float32,
            quantizer: ["OneBit"])
    }
}

/// What is wrong with a configuration as a whole. A single key's fault is a `JSONNodeError`, which names file and key.
public enum ConfigurationError: LocalizedError, Sendable, Equatable {
    /// A model family that this version does not know.
    case unsupportedFamily(file: String, found: String, supported: [String])
    /// Keys of which this version does not know whether they change what a model computes.
    case unknownKeys(file: String, keys: [String], modelType: String)
    /// Two values that cannot both be true.
    case inconsistent(file: String, reason: String)
    /// No published shape has that name.
    case unknownShape(found: String, known: [String])

    public var errorDescription: String? {
        switch self {
        case .unsupportedFamily(let file, let found, let supported):
            "\(file): \"model_type\" is \(found); this version supports \(supported.joined(separator: ", "))."
        case .unknownKeys(let file, let keys, let modelType):
            "\(file): this version does not know what "
                + keys.prefix(8).map { "\"\($0.prefix(64))\"" }.joined(separator: ", ")
                + (keys.count > 8 ? " and \(keys.count - 8) more keys" : "")
                + " would change in a model of type \"\(modelType)\". Remove the key or allow unknown keys, if it changes "
                + "nothing."
        case .inconsistent(let file, let reason):
            "\(file): \(reason)."
        case .unknownShape(let found, let known):
            "No shape \"\(found)\"; known: \(known.joined(separator: ", "))."
        }
    }
}
