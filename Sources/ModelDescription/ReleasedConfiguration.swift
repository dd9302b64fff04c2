/// `config.json` of the checkpoints that the paper's authors released, in the words of this project.
///
/// Theirs has a `model_type` of its own for what is a LLaMA of one-bit linears, and says by the class whether the
/// weights are packed. Tensor names and packed bits are ours; every linear is followed by a LayerNorm without parameters
/// and with PyTorch's ε, and the released vectors are float32. Where a latent weight is exactly 0 their training takes
/// the sign 0, their packing +1; here it is +1 always.
///
/// Source: github.com/xuyuzhuang11/OneBit at 42d6d7b, `models/bitllama`, `models/bitnet.py`,
/// `scripts/convert_llama_to_infer_ckpt.py`.
struct ReleasedConfiguration {
    static let modelType = "bitllama"

    /// The configuration as the family's own, LLaMA's.
    let reader: ConfigurationReader
    /// What ours says of the linears.
    let quantization: QuantizationConfiguration

    /// Nil when the configuration is not of this kind.
    ///
    /// - Throws: ``ConfigurationError`` when it does not say which of the two classes it belongs to.
    init?(_ reader: ConfigurationReader) throws {
        guard try reader.string("model_type") == Self.modelType else { return nil }
        let format: QuantizationConfiguration.CheckpointFormat
        switch try reader.strings("architectures", default: []) {
        case ["BitLlamaForCausalLM"]: format = .float
        case ["BitLlamaForCausalLMInf"]: format = .packed
        default:
            guard let found = reader.value("architectures") else { throw reader.missing("architectures") }
            throw reader.unsupported(
                "architectures", "[\"BitLlamaForCausalLM\"] or [\"BitLlamaForCausalLMInf\"]", found)
        }
        var object = reader.object
        object["model_type"] = .string(ModelFamily.llama.modelType)
        object["architectures"] = .array([.string(ModelFamily.llama.architecture)])
        self.reader = ConfigurationReader(file: reader.file, object: object)
        quantization = QuantizationConfiguration(
            checkpointFormat: format, postLayerNorm: true, layerNormEpsilon: 1e-5, valueType: .float32,
            quantizer: ["OneBit"])
    }
}
