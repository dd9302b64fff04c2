import ArgumentParser
import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles

struct PackCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "pack",
        abstract: "Pack a float student at one bit per weight, ready to run.",
        discussion: """
            Writes the signs of every linear layer as bits, the vectors g and h and the norms as floats, and the embedding and \
            the output projection in 8 bits, or as floats. Memory is bounded by the largest tensor.

            The checkpoints that the paper's authors released are students too, float or packed. A packed one is rewritten \
            in this program's format without loss: what stays in float keeps the type that it has.

            EXAMPLES
              onebit pack student --output packed
              onebit pack student --output packed --value-type float32
              onebit pack student --output packed --embedding-bits float
              onebit pack packed --output smaller --embedding-bits 8
              onebit pack onebit_llama_7b --output packed
            """
    )

    /// Types of the floats of a packed checkpoint.
    enum ValueType: String, ExpressibleByArgument, CaseIterable {
        case float16
        case float32
        case stored

        /// Nil: each tensor as it is stored.
        var elementType: ElementType? {
            switch self {
            case .float16: .float16
            case .float32: .float32
            case .stored: nil
            }
        }
    }

    @Argument(
        help: "The student, from onebit distill or onebit init, or the paper's: a directory, or its name on the hub.")
    var student: ModelLocation

    @OptionGroup var output: OutputOptions
    @OptionGroup var checkpoints: CheckpointOptions

    @Option(
        help: """
            Type of everything that stays in float: float16, float32, or stored for what each tensor has. Of a float \
            student float16 unless given, of a packed one stored.
            """)
    var valueType: ValueType?

    @OptionGroup var packing: PackingOptions
    @OptionGroup var progress: ProgressOptions

    mutating func locateModels() async throws { try await student.locate(quiet: progress.quiet) }

    func run() throws {
        let student = try checkpoints.open(student.url)
        let meter = progress.meter("pack", total: student.configuration.parameterCount, unit: "weights")
        let valueType = valueType ?? (student.kind == .packed ? .stored : .float16)
        let format = packing.embeddingFormat(of: student.kind)
        try CheckpointPacker(valueType: valueType.elementType, embeddingFormat: format).pack(
            student: student,
            destination: output.output,
            overwrite: output.overwrite
        ) { completed, _ in
            meter.update(done: completed)
            try Task.checkCancellation()
        }
        meter.finish()
        let summary = try CheckpointSummary(checkpoints.reopen(output.output))
        try StandardStreams.writeLine(
            "\(output.output.path): \(Quantity.bytes(summary.byteCount)), linear layers "
                + "\(Quantity.fixed(summary.linearBitsPerWeight, digits: 4)) bits per weight, whole model "
                + Quantity.fixed(summary.bitsPerWeight, digits: 4)
        )
    }
}
