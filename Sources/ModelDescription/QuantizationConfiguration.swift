import JSON
import TensorFiles

/// How a OneBit checkpoint stores its linear layers: `quantization_config` of `config.json`.
public struct QuantizationConfiguration: Sendable, Hashable {
    /// What stands in a linear's `weight`.
    public enum CheckpointFormat: String, Sendable, Hashable, CaseIterable {
        /// Float latent weights [out, in], for training.
        case float = "onebit-float-v1"
        /// Sign bits, int8 [out, ⌈in/8⌉], least significant bit first, 1 meaning −1.
        case packed = "onebit-lsb-v1"
    }

    /// Float student or packed.
    public var checkpointFormat: CheckpointFormat
    /// Whether a LayerNorm without affine parameters follows every one-bit linear (paper §3.1).
    public var postLayerNorm: Bool
    /// Epsilon of that LayerNorm.
    public var layerNormEpsilon: Float
    /// Element type of the value vectors.
    public var valueType: ElementType
    /// Linear layers that stay in float.
    public var modulesToNotConvert: [String]
    /// The tools that made the checkpoint, `name:version`.
    public var quantizer: [String]

    /// A configuration with the paper's epsilon.
    public init(
        checkpointFormat: CheckpointFormat,
        postLayerNorm: Bool,
        layerNormEpsilon: Float = 1e-5,
        valueType: ElementType,
        modulesToNotConvert: [String] = ["lm_head", "embed_tokens"],
        quantizer: [String] = [OneBitVersion.quantizer]
    ) {
        self.checkpointFormat = checkpointFormat
        self.postLayerNorm = postLayerNorm
        self.layerNormEpsilon = layerNormEpsilon
        self.valueType = valueType
        self.modulesToNotConvert = modulesToNotConvert
        self.quantizer = quantizer
    }

    init(_ reader: ConfigurationReader) throws {
        guard let method = try reader.string("quant_method") else { throw reader.missing("quant_method") }
        guard method == "onebit" else { throw reader.unsupported("quant_method", "\"onebit\"", .string(method)) }
        if let bits = reader.value("bits"), bits != .integer(1) { throw reader.unsupported("bits", "1", bits) }
        guard let formatName = try reader.string("checkpoint_format") else { throw reader.missing("checkpoint_format") }
        guard let format = CheckpointFormat(rawValue: formatName) else {
            let known = CheckpointFormat.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: " and ")
            throw reader.unsupported("checkpoint_format", known, .string(formatName))
        }
        guard case .boolean(let postLayerNorm)? = reader.value("post_layernorm") else {
            throw reader.missing("post_layernorm")
        }
        let typeName = try reader.string("value_dtype") ?? "float16"
        guard let valueType = ElementType(configurationName: typeName) else {
            throw reader.unsupported("value_dtype", "float32, float16 and bfloat16", .string(typeName))
        }
        self.init(
            checkpointFormat: format,
            postLayerNorm: postLayerNorm,
            layerNormEpsilon: try reader.positive("layernorm_eps", atMost: 1, default: 1e-5),
            valueType: valueType,
            modulesToNotConvert: try reader.strings("modules_to_not_convert", default: ["lm_head", "embed_tokens"]),
            quantizer: try reader.nested("meta")?.strings("quantizer", default: []) ?? []
        )
    }

    var json: JSONValue {
        .object(
            JSONObject([
                ("quant_method", .string("onebit")),
                ("bits", .integer(1)),
                ("checkpoint_format", .string(checkpointFormat.rawValue)),
                ("value_dtype", .string(valueType.configurationName ?? "float32")),
                ("post_layernorm", .boolean(postLayerNorm)),
                ("layernorm_eps", JSONValue(layerNormEpsilon)),
                ("modules_to_not_convert", .array(modulesToNotConvert.map { .string($0) })),
                ("meta", .object(JSONObject([("quantizer", .array(quantizer.map { .string($0) }))]))),
            ])
        )
    }
}

extension JSONValue {
    /// A float as the shortest decimal that reads back as it, not as the double beside it.
    init(_ value: Float) {
        self = .number(Double(value.description) ?? Double(value))
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
