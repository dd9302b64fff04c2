import Foundation

/// Shape and constants of a model: a validated `config.json`.
///
/// Every number is positive and bounded such that no product of them, over all layers, overflows 64 bits.
public struct ModelConfiguration: Sendable, Hashable {
    /// `model_type`, the family's name.
    public let modelType: String
    /// Rows of the embedding.
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
    /// Channels per head; even, for the rotary embedding.
    public let headSize: Int
    /// Longest sequence that the model was made for, in tokens.
    public let maximumPositions: Int
    /// Epsilon of the RMSNorms.
    public let normEpsilon: Float
    /// Base of the rotary frequencies.
    public let ropeTheta: Float
    /// Whether the output projection is the embedding itself.
    public let tiedEmbeddings: Bool
    /// Token that opens a text.
    public let beginOfSequence: Int?
    /// Tokens that end a text: `config.json`'s, then those that `generation_config.json` adds.
    public let endOfSequence: [Int]
    /// How the linear layers are stored; nil in a dense checkpoint.
    public let quantization: QuantizationConfiguration?

    /// The family's own keys as read.
    let source: JSONObject
    let family: ModelFamily

    /// Reads `config.json`, and `generation_config.json`'s end-of-sequence tokens when that file stands beside it.
    ///
    /// - Throws: ``ConfigurationError`` or ``FileError``.
    public init(contentsOf url: URL) throws {
        let generation = url.deletingLastPathComponent().appending(path: "generation_config.json")
        let hasGeneration = FileManager.default.fileExists(atPath: generation.path)
        try self.init(
            try ConfigurationReader(contentsOf: url),
            generation: hasGeneration ? try ConfigurationReader(contentsOf: generation) : nil
        )
    }

    /// A dense LLaMA configuration that stands in no file yet.
    ///
    /// - Throws: ``ConfigurationError`` when the numbers do not fit together.
    public init(
        modelType: String = "llama",
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
        let object = JSONObject([
            ("architectures", .array([.string(ModelFamily.llama.architecture)])),
            ("model_type", .string(modelType)),
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
        ])
        try self.init(ConfigurationReader(file: "configuration", object: object), generation: nil)
    }

    init(_ reader: ConfigurationReader, generation: ConfigurationReader?) throws {
        guard let typeName = try reader.string("model_type") else { throw reader.missing("model_type") }
        guard let family = ModelFamily.all.first(where: { $0.modelType == typeName }) else {
            throw ConfigurationError.unsupportedFamily(
                file: reader.file,
                found: "\"\(typeName)\"",
                supported: ModelFamily.all.map(\.modelType)
            )
        }
        try Self.check(family.requirements, reader)
        modelType = typeName
        self.family = family
        var source = reader.object
        source["quantization_config"] = nil
        self.source = source

        vocabularySize = try reader.integer("vocab_size", in: 1...1 << 24)
        hiddenSize = try reader.integer("hidden_size", in: 1...1 << 18)
        intermediateSize = try reader.integer("intermediate_size", in: 1...1 << 20)
        layerCount = try reader.integer("num_hidden_layers", in: 1...4096)
        attentionHeadCount = try reader.integer("num_attention_heads", in: 1...4096)
        keyValueHeadCount =
            try reader.integer("num_key_value_heads", in: 1...4096, default: nil) ?? attentionHeadCount
        maximumPositions =
            try reader.integer("max_position_embeddings", in: 1...Int(Int32.max), default: nil) ?? 2048
        guard attentionHeadCount % keyValueHeadCount == 0 else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "\"num_attention_heads\" (\(attentionHeadCount)) is not a multiple of "
                    + "\"num_key_value_heads\" (\(keyValueHeadCount))"
            )
        }
        headSize = try Self.headSize(reader, hiddenSize: hiddenSize, headCount: attentionHeadCount)

        normEpsilon = try reader.positive("rms_norm_eps", atMost: 1, default: 1e-6)
        ropeTheta = try Self.ropeTheta(reader)
        tiedEmbeddings = try reader.boolean("tie_word_embeddings", default: false)
        beginOfSequence = try reader.integer("bos_token_id", in: 0...vocabularySize - 1, default: nil)
        var ends = try reader.integers("eos_token_id", in: 0..<vocabularySize)
        ends += try generation?.integers("eos_token_id", in: 0..<vocabularySize) ?? []
        var seen = Set<Int>()
        endOfSequence = ends.filter { seen.insert($0).inserted }
        quantization = try reader.nested("quantization_config").map(QuantizationConfiguration.init)
    }

    private static func check(_ requirements: [ModelFamily.Requirement], _ reader: ConfigurationReader) throws {
        for requirement in requirements {
            guard let value = reader.value(requirement.key), !requirement.supported.contains(value) else { continue }
            throw reader.unsupported(requirement.key, requirement.supported[0].summary, value)
        }
    }

    private static func headSize(_ reader: ConfigurationReader, hiddenSize: Int, headCount: Int) throws -> Int {
        let stated = try reader.integer("head_dim", in: 1...1 << 16, default: nil)
        guard stated != nil || hiddenSize % headCount == 0 else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "\"hidden_size\" (\(hiddenSize)) is not a multiple of \"num_attention_heads\" (\(headCount))"
            )
        }
        let size = stated ?? hiddenSize / headCount
        guard size % 2 == 0 else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "the head size (\(size)) is odd; rotary embeddings need an even one"
            )
        }
        guard size * headCount <= 1 << 20 else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "\"head_dim\" × \"num_attention_heads\" is \(size * headCount), above 1048576"
            )
        }
        return size
    }

    /// The rotary base, from `rope_theta` or from the `rope_parameters` of newer transformers. Scaled rotary
    /// embeddings are refused: ignoring them would give wrong text, not an error.
    private static func ropeTheta(_ reader: ConfigurationReader) throws -> Float {
        let limit = 1e12
        let direct = try reader.positive("rope_theta", atMost: limit, default: 10_000)
        var theta = direct
        for key in ["rope_scaling", "rope_parameters"] {
            guard let rope = try reader.nested(key) else { continue }
            let type = try rope.string("rope_type") ?? rope.string("type") ?? "default"
            guard type == "default" else {
                throw reader.unsupported(key, "null or type \"default\"", .object(rope.object))
            }
            theta = try rope.positive("rope_theta", atMost: limit, default: theta)
            if let factor = rope.value("partial_rotary_factor"), factor != .integer(1), factor != .number(1) {
                throw rope.unsupported("partial_rotary_factor", "1", factor)
            }
        }
        return theta
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

extension ConfigurationReader {
    init(contentsOf url: URL) throws {
        let data = try readSmallFile(url)
        do {
            guard case .object(let object) = try JSONValue.parse(data) else {
                throw ConfigurationError.malformed(file: url.path, reason: "expected a JSON object")
            }
            self.init(file: url.path, object: object)
        } catch let error as JSONError {
            throw ConfigurationError.malformed(file: url.path, reason: error.localizedDescription)
        }
    }
}
