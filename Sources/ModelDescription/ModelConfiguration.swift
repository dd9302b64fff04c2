import Foundation
import JSON
import TensorFiles

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
    /// Channels per head; even where positions are rotary.
    public let headSize: Int
    /// Longest sequence that the model was made for, in tokens: what linear and dynamic rotary scaling stretch
    /// `max_position_embeddings` to, that number otherwise.
    public let maximumPositions: Int
    /// Epsilon of the norms.
    public let normEpsilon: Float
    /// What the model computes, beside its sizes.
    public let structure: DecoderStructure
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

    /// The configuration of a dense model that stands in no file yet, of any family.
    ///
    /// - Parameter keys: what `config.json` would hold.
    /// - Throws: ``ConfigurationError``
    package init(_ keys: JSONObject) throws {
        try self.init(ConfigurationReader(file: "configuration", object: keys), generation: nil)
    }

    init(_ reader: ConfigurationReader, generation: ConfigurationReader?) throws {
        let released = try ReleasedConfiguration(reader)
        let reader = released?.reader ?? reader
        let family = try ModelFamily.named(by: reader)
        try family.checkSettings(reader)
        self.family = family
        modelType = family.modelType
        var source = reader.object
        source["quantization_config"] = nil
        self.source = source

        vocabularySize = try reader.integer("vocab_size", in: 1...1 << 24)
        hiddenSize = try reader.integer("hidden_size", in: 1...1 << 18)
        intermediateSize = try reader.integer(family.intermediateSizeKey, in: 1...1 << 20)
        layerCount = try reader.integer("num_hidden_layers", in: 1...4096)
        attentionHeadCount = try reader.integer("num_attention_heads", in: 1...4096)
        keyValueHeadCount =
            try reader.integer("num_key_value_heads", in: 1...4096, default: family.defaultKeyValueHeadCount)
            ?? attentionHeadCount
        let positions = try reader.integer("max_position_embeddings", in: 1...Int(Int32.max), default: nil) ?? 2048
        guard attentionHeadCount % keyValueHeadCount == 0 else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "\"num_attention_heads\" (\(attentionHeadCount)) is not a multiple of "
                    + "\"num_key_value_heads\" (\(keyValueHeadCount))"
            )
        }
        structure = try family.structure(
            reader,
            ModelFamily.Sizes(hiddenSize: hiddenSize, layerCount: layerCount, maximumPositions: positions))
        headSize = try Self.headSize(
            reader, hiddenSize: hiddenSize, headCount: attentionHeadCount, fallback: family.defaultHeadSize,
            positions: structure.positions)
        if case .rotary(let rotary) = structure.positions {
            maximumPositions = rotary.stretched(positions)
        } else {
            maximumPositions = positions
        }
        normEpsilon =
            try family.normEpsilonKey.map { try reader.positive($0, atMost: 1, default: family.defaultNormEpsilon) }
            ?? family.defaultNormEpsilon
        tiedEmbeddings = try reader.boolean("tie_word_embeddings", default: family.tiesEmbeddingsByDefault)
        beginOfSequence = try reader.integer("bos_token_id", in: 0...vocabularySize - 1, default: nil)
        var ends = try reader.integers("eos_token_id", in: 0..<vocabularySize)
        ends += try generation?.integers("eos_token_id", in: 0..<vocabularySize) ?? []
        var seen = Set<Int>()
        endOfSequence = ends.filter { seen.insert($0).inserted }
        quantization =
            try released?.quantization ?? reader.nested("quantization_config").map(QuantizationConfiguration.init)
    }

    private static func headSize(
        _ reader: ConfigurationReader, hiddenSize: Int, headCount: Int, fallback: Int?,
        positions: DecoderStructure.Positions
    ) throws -> Int {
        let stated = try reader.integer("head_dim", in: 1...1 << 16, default: fallback)
        guard stated != nil || hiddenSize % headCount == 0 else {
            throw ConfigurationError.inconsistent(
                file: reader.file,
                reason: "\"hidden_size\" (\(hiddenSize)) is not a multiple of \"num_attention_heads\" (\(headCount))"
            )
        }
        let size = stated ?? hiddenSize / headCount
        if case .rotary = positions, size % 2 != 0 {
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
