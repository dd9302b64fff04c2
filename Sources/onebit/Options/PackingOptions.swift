import ArgumentParser
import ModelDescription

/// How a command packs what is not a linear layer.
struct PackingOptions: ParsableArguments {
    /// Bits of the weights of embedding and output projection.
    enum EmbeddingBits: String, ExpressibleByArgument, CaseIterable {
        case bits8 = "8"
        case float
        case stored

        /// Nil: as they are stored.
        var format: QuantizationConfiguration.EmbeddingFormat? {
            switch self {
            case .bits8: .int8
            case .float: .float
            case .stored: nil
            }
        }
    }

    @Option(
        help: """
            Embedding and output projection: 8 for bytes with a scale per row, half of float16; float; or stored for what \
            they are. Of a float student 8 unless given, of a packed one stored.
            """)
    var embeddingBits: EmbeddingBits?

    /// How a student of a kind is packed; nil keeps what is stored.
    ///
    /// A scale per row costs the tiny teacher's student 0.006 % of perplexity and SmolLM2-135M's 0.085 % (README).
    func embeddingFormat(of kind: CheckpointKind) -> QuantizationConfiguration.EmbeddingFormat? {
        (embeddingBits ?? (kind == .packed ? .stored : .bits8)).format
    }
}
