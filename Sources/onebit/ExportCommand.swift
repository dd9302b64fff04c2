import ArgumentParser
import Foundation
import ModelDescription
import StudentExport
import TensorFiles

struct ExportCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a student for other engines: as a dense model, or as GGUF.",
        discussion: """
            --format safetensors writes the dense model of the student's own family that it is equal to, which transformers, \
            vLLM, MLX and others run: W = h gᵀ ⊙ S, sixteen times as large as the signs.

            --format gguf writes a file for llama.cpp, Ollama and LM Studio. Layers whose input scale folds into what is \
            before them are Q1_0, a sign for each weight and the same scale in all blocks of a row; the others are dense. \
            Every layer folds where input scales are shared (--input-scales shared, of init and compress). Widths that do not \
            divide into Q1_0's blocks of 128 are filled up with zeros, which changes nothing but the size.

            EXAMPLES
              onebit export packed --format gguf --output student.gguf
              onebit export packed --format gguf --output student.gguf --embedding-type q8_0
              onebit export packed --format safetensors --output dense --value-type bfloat16
            """
    )

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case safetensors
        case gguf
    }

    /// Types of floats in safetensors.
    enum ValueType: String, ExpressibleByArgument, CaseIterable {
        case float16, bfloat16, float32

        var elementType: ElementType {
            switch self {
            case .float16: .float16
            case .bfloat16: .bfloat16
            case .float32: .float32
            }
        }
    }

    /// Types of dense matrices in GGUF.
    enum MatrixType: String, ExpressibleByArgument, CaseIterable {
        case f32, f16, bf16
        case q8 = "q8_0"

        var tensorType: GGUFTensorType {
            switch self {
            case .f32: .f32
            case .f16: .f16
            case .bf16: .bf16
            case .q8: .q80
            }
        }
    }

    @Argument(help: "A student, float or packed: a directory, or its name on the hub.")
    var student: ModelLocation

    @Option(help: "What to write.")
    var format: Format

    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Directory to write, or with --format gguf the file.", valueName: "path"))
    var output: URL

    @Flag(name: .long, help: "Replace the output if it exists. The old one goes once the new one is whole.")
    var overwrite = false

    @Option(help: "With --format safetensors, type of everything (default: float16).")
    var valueType: ValueType?

    @Option(help: "With --format gguf, type of layers that keep input scales of their own (default: f16).")
    var denseType: MatrixType?

    @Option(help: "With --format gguf, type of the embedding and of the output projection (default: f16).")
    var embeddingType: MatrixType?

    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var json: JSONOption
    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        if format == .gguf, valueType != nil {
            throw ValidationError("--value-type goes with --format safetensors; --dense-type is that of gguf.")
        }
        if format == .safetensors, denseType != nil || embeddingType != nil {
            throw ValidationError("--dense-type and --embedding-type go with --format gguf.")
        }
    }

    /// What `--json` prints.
    private struct Result: Encodable {
        let output: String
        let bytes: Int
        var signLayers: Int?
        var layers: Int?
        var padding: [String]?
        var denseBecause: [String]?
    }

    mutating func locateModels() async throws { try await student.locate(quiet: progress.quiet) }

    func run() throws {
        let student = try checkpoints.open(student.url)
        let meter = progress.meter("export", total: student.configuration.parameterCount, unit: "weights")
        func report(_ completed: Int, _ total: Int) throws {
            meter.update(done: completed)
            try Task.checkCancellation()
        }
        let result: Result
        switch format {
        case .safetensors:
            try DenseExporter(elementType: (valueType ?? .float16).elementType)
                .export(student, to: output, overwrite: overwrite, progress: report)
            result = Result(output: output.path, bytes: try checkpoints.reopen(output).byteCount)
        case .gguf:
            let written = try GGUFExporter(
                denseType: (denseType ?? .f16).tensorType, embeddingType: (embeddingType ?? .f16).tensorType
            ).export(student, to: output, overwrite: overwrite, progress: report)
            result = Result(
                output: output.path, bytes: written.byteCount, signLayers: written.signLayers, layers: written.layers,
                padding: written.padding, denseBecause: written.reasons)
        }
        meter.finish()
        if json.json { return try writeJSON(result) }
        try StandardStreams.writeLine(text(of: result))
    }

    private func text(of result: Result) -> String {
        var text = "\(result.output): \(Quantity.bytes(result.bytes))"
        if let signLayers = result.signLayers, let layers = result.layers {
            text += ", \(signLayers) of \(layers) layers one bit per weight (Q1_0)"
        }
        if let padding = result.padding, !padding.isEmpty {
            text += "; filled up with zeros: " + padding.joined(separator: ", ")
        }
        if let reasons = result.denseBecause, !reasons.isEmpty {
            text += "; the others are dense: " + reasons.joined(separator: "; ")
        }
        return text
    }
}

extension ExportError: CommandLineAdvice {
    var commandLineAdvice: String? {
        switch self {
        case .layerNormBehindLayers: "Distil a student with --post-layernorm off, as the default recipe does."
        case .notExpressible, .tokenizerNotExpressible: "Give --format safetensors."
        case .widthNotAMultiple: "Give --dense-type or --embedding-type f16."
        case .notAStudent: nil
        }
    }
}
