import JSON
import TensorFiles

/// How a OneBit checkpoint stores its linear layers: `quantization_config` of `config.json`.
public struct QuantizationConfiguration: Sendable, Hashable {
    /// What a linear's `weight` holds.
    public enum CheckpointFormat: String, Sendable, Hashable, CaseIterable {
        /// Float latent weights [out, in], for training.
        case float = "onebit-float-v1"
        /// Sign bits, int8 [out, ⌈in/8⌉], least significant bit first, 1 meaning −1.
        case packed = "onebit-lsb-v1"
    }

    /// What the token embedding and an output projection of its own hold.
    public enum EmbeddingFormat: Sendable, Hashable, CaseIterable {
        /// Floats [rows, columns].
        case float
        /// int8 q [rows, columns], and beside it a float s for each row: W[r][c] = q[r][c] · s[r]. Of packed checkpoints.
        case int8
    }

    /// Which layers have an input scale g of their own.
    public enum InputScales: String, Sendable, Hashable, Codable, CaseIterable {
        /// All of them: the paper's.
        case own
        /// q, k and v have the same, gate and up have the same, and o's is the same for the query heads that share a key/value
        /// head. Every g then folds into what is before it, and the layers are signs and a scale per row.
        case shared
    }

    /// Float student or packed.
    public var checkpointFormat: CheckpointFormat
    /// Whether a LayerNorm without affine parameters follows every one-bit linear (paper §3.1).
    public var postLayerNorm: Bool
    /// Epsilon of that LayerNorm.
    public var layerNormEpsilon: Float
    /// Element type that holds every value vector exactly: theirs, or float32 where they differ.
    public var valueType: ElementType
    /// How the token embedding and an output projection of its own are stored.
    public var embeddingFormat: EmbeddingFormat
    /// Which layers have an input scale of their own. Where some share one, each still stores it.
    public var inputScales: InputScales
    /// Linear layers that are not made of signs.
    public var modulesToNotConvert: [String]
    /// The tools that wrote the checkpoint, `name:version`.
    public var quantizer: [String]

    /// A configuration with the paper's epsilon.
    public init(
        checkpointFormat: CheckpointFormat,
        postLayerNorm: Bool,
        layerNormEpsilon: Float = 1e-5,
        valueType: ElementType,
        embeddingFormat: EmbeddingFormat = .float,
        inputScales: InputScales = .own,
        modulesToNotConvert: [String] = ["lm_head", "embed_tokens"],
        quantizer: [String] = [OneBitVersion.quantizer]
    ) {
        self.checkpointFormat = checkpointFormat
        self.postLayerNorm = postLayerNorm
        self.layerNormEpsilon = layerNormEpsilon
        self.valueType = valueType
        self.embeddingFormat = embeddingFormat
        self.inputScales = inputScales
        self.modulesToNotConvert = modulesToNotConvert
        self.quantizer = quantizer
    }

    init(_ node: JSONNode) throws {
        let method = node["quant_method"]
        guard try method.string() == "onebit" else { throw method.unsupported(supported: "\"onebit\"") }
        if let bits = node["bits"].nonNull, try bits.number() != 1 { throw bits.unsupported(supported: "1") }
        guard let format = CheckpointFormat(rawValue: try node["checkpoint_format"].string()) else {
            throw node["checkpoint_format"].unsupported(
                supported: CheckpointFormat.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " and "))
        }
        let type = try node["value_dtype"].nonNull?.string() ?? "float16"
        guard let valueType = ElementType(configurationName: type) else {
            throw node["value_dtype"].unsupported(supported: "float32, float16 and bfloat16")
        }
        let embeddingBits = node["embedding_bits"]
        if let bits = embeddingBits.nonNull, try format != .packed || bits.number() != 8 {
            throw bits.unsupported(supported: "8 in a packed checkpoint, or no such key: floats")
        }
        let scales = node["input_scales"]
        guard let inputScales = InputScales(rawValue: try scales.nonNull?.string() ?? InputScales.own.rawValue) else {
            throw scales.unsupported(supported: "\"own\" and \"shared\"")
        }
        self.init(
            checkpointFormat: format,
            postLayerNorm: try node["post_layernorm"].boolean(),
            layerNormEpsilon: try node["layernorm_eps"].nonNull?.positiveNumber(atMost: 1) ?? 1e-5,
            valueType: valueType,
            embeddingFormat: embeddingBits.nonNull == nil ? .float : .int8,
            inputScales: inputScales,
            modulesToNotConvert: try node["modules_to_not_convert"].nonNull?.strings() ?? ["lm_head", "embed_tokens"],
            quantizer: try node["meta"]["quantizer"].nonNull?.strings() ?? []
        )
    }

    var json: JSONValue {
        var object = JSONObject([
            ("quant_method", .string("onebit")),
            ("bits", .integer(1)),
            ("checkpoint_format", .string(checkpointFormat.rawValue)),
            ("value_dtype", .string(valueType.configurationName ?? "float32")),
        ])
        // Left out where they are floats, as in every file before there was a choice.
        if embeddingFormat == .int8 { object["embedding_bits"] = .integer(8) }
        if inputScales == .shared { object["input_scales"] = .string(inputScales.rawValue) }
        object["post_layernorm"] = .boolean(postLayerNorm)
        object["layernorm_eps"] = JSONValue(layerNormEpsilon)
        object["modules_to_not_convert"] = .array(modulesToNotConvert.map { .string($0) })
        object["meta"] = .object(JSONObject([("quantizer", .array(quantizer.map { .string($0) }))]))
        return .object(object)
    }
}

extension ElementType {
    /// PyTorch's name of a float type, as `config.json` writes it; nil for integers.
    public var configurationName: String? {
        switch self {
        case .float32: "float32"
        case .float16: "float16"
        case .bfloat16: "bfloat16"
        case .int8, .uint8, .int32, .int64: nil
        }
    }

    /// The float type of a PyTorch name.
    public init?(configurationName: String) {
        guard let type = ElementType.allCases.first(where: { $0.configurationName == configurationName }) else {
            return nil
        }
        self = type
    }
}

/// What a checkpoint's linear layers are stored as.
public enum CheckpointKind: String, Sendable, Hashable, CaseIterable {
    /// One float weight each: an ordinary model, a teacher.
    case dense
    /// A float latent weight and two value vectors: a student in training.
    case floatStudent
    /// Sign bits and two value vectors: what is run.
    case packed

    /// What users call it.
    public var title: String {
        switch self {
        case .dense: "dense"
        case .floatStudent: "float student"
        case .packed: "packed"
        }
    }

    var article: String {
        switch self {
        case .dense: "a dense checkpoint"
        case .floatStudent: "a float student (checkpoint_format \"onebit-float-v1\")"
        case .packed: "a packed checkpoint (checkpoint_format \"onebit-lsb-v1\")"
        }
    }
}

extension ModelConfiguration {
    /// The kind of checkpoint that this configuration belongs to.
    public var kind: CheckpointKind {
        switch quantization?.checkpointFormat {
        case nil: .dense
        case .float: .floatStudent
        case .packed: .packed
        }
    }
}
