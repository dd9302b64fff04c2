/// Version of this project: what `onebit --version` prints, and what checkpoints name as their maker.
public enum OneBitVersion {
    public static let current = "0.1.0"

    /// The entry of `quantization_config.meta.quantizer`.
    public static let quantizer = "onebit-swift:\(current)"
}
