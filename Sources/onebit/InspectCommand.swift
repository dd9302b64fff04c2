import ArgumentParser
import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show a checkpoint's layers, shapes, bits per weight and bytes, and what packing saves.",
        discussion: """
            Reads configuration and headers, no weights. With --shape nothing is read: the sizes follow from the \
            published configuration (\(ModelConfiguration.knownShapes.joined(separator: ", "))).

            Sizes are in units of ten: 1 GB is 10⁹ bytes. "float16" is the dense model in half precision; "packed" \
            has one bit per sign and float16 vectors, embeddings, norms and output projection. Bits per weight are \
            stored bits over the weights of the dense layer; bits per parameter count g and h as parameters too.

            EXAMPLES
              onebit inspect llama-7b
              onebit inspect packed --json
              onebit inspect --shape llama-7b
            """
    )

    @Argument(help: "Directory of a dense, float or packed checkpoint.")
    var directory: URL?

    @Option(help: ArgumentHelp("A published shape in place of a directory.", valueName: "name"))
    var shape: String?

    @OptionGroup var json: JSONOption

    func validate() throws {
        guard (directory == nil) != (shape == nil) else {
            throw ValidationError("Give a directory or --shape, one of the two.")
        }
    }

    func run() throws {
        let inspection: Inspection
        if let directory {
            inspection = try Inspection(Checkpoint(directory: directory))
        } else {
            inspection = Inspection(try ModelConfiguration(shape: shape ?? ""), name: shape ?? "")
        }
        if json.json {
            try writeJSON(inspection)
        } else {
            try StandardStreams.write(inspection.text)
        }
    }
}
