/// Version of this tool, as `onebit --version` prints it and as packed checkpoints name their maker.
enum OneBitVersion {
    static let current = "0.1.0"

    /// The entry for `quantization_config.meta.quantizer`.
    static let quantizer = "onebit-swift:\(current)"
}
