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
            they are, which is float in a student.
            """)
    var embeddingBits = EmbeddingBits.stored
}
