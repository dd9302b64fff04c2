import ArgumentParser
import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles

struct InspectCommand: ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show a checkpoint's layers, shapes, bits per weight and bytes, and what packing saves.",
        discussion: """
            Reads configuration and headers, no weights. With --shape nothing is read: the sizes follow from the \
            published configuration (\(ModelConfiguration.knownShapes.joined(separator: ", "))).

            Sizes are in units of ten: 1 GB is 10⁹ bytes. "float16" is the dense model in half precision; "packed" \
            has one bit per sign and float16 vectors, embeddings, norms and output projection, embeddings and projection in \
            8 bits where the checkpoint has them so. Bits per weight are stored bits over the weights of the dense layer; \
            bits per parameter count g and h as parameters too.

            EXAMPLES
              onebit inspect llama-7b
              onebit inspect packed --json
              onebit inspect --shape llama-7b
            """
    )

    @Argument(help: "A checkpoint, dense, float student or packed: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation?

    @Option(help: ArgumentHelp("A published shape in place of a directory.", valueName: "name"))
    var shape: String?

    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var json: JSONOption

    func validate() throws {
        guard (model == nil) != (shape == nil) else {
            throw ValidationError("Give a model or --shape, one of the two.")
        }
    }

    mutating func locateModels() async throws { try await model?.locate() }

    func run() throws {
        let inspection: Inspection
        if let model {
            inspection = try Inspection(checkpoints.open(model.url))
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

/// What `onebit inspect` shows, as JSON and as text.
struct Inspection: Encodable {
    struct Layer: Encodable {
        let name: String
        let shape: [Int]
        let storedType: String?
        let storedBytes: Int?
        let packedBytes: Int
        let packedBitsPerWeight: Double
        let packedBitsPerParameter: Double
    }

    /// Bytes of one form of the model, and bits per weight of the dense one.
    struct Size: Encodable {
        let linearBytes: Int
        let otherBytes: Int
        let bytes: Int
        let linearBitsPerWeight: Double
        let bitsPerWeight: Double

        init(linearBytes: Int, otherBytes: Int, of model: ModelSize) {
            self.linearBytes = linearBytes
            self.otherBytes = otherBytes
            bytes = linearBytes + otherBytes
            linearBitsPerWeight = Double(linearBytes * 8) / Double(model.linearWeightCount)
            bitsPerWeight = Double(bytes * 8) / Double(model.parameterCount)
        }
    }

    let model: String
    let kind: String?
    let modelType: String
    let parameters: Int
    let linearWeights: Int
    let postLayernorm: Bool?
    /// As stored on disk; nil for a shape.
    let stored: Size?
    let float16: Size
    let packed: Size
    /// Of the float16 bytes, what packing saves.
    let savedFraction: Double
    let layers: [Layer]

    /// A checkpoint on disk.
    init(_ checkpoint: Checkpoint) throws {
        let summary = try CheckpointSummary(checkpoint)
        self.init(checkpoint.configuration, name: checkpoint.directory.path, summary: summary)
    }

    /// A shape without weights.
    init(_ configuration: ModelConfiguration, name: String) {
        self.init(configuration, name: name, summary: nil)
    }

    private init(_ configuration: ModelConfiguration, name: String, summary: CheckpointSummary?) {
        let size = ModelSize(configuration)
        model = name
        kind = summary?.kind.title
        modelType = configuration.modelType
        parameters = size.parameterCount
        linearWeights = size.linearWeightCount
        postLayernorm = configuration.quantization?.postLayerNorm
        stored = summary.map { Size(linearBytes: $0.linearBytes, otherBytes: $0.otherBytes, of: size) }
        float16 = Size(linearBytes: size.denseLinearBytes, otherBytes: size.otherBytes, of: size)
        packed = Size(linearBytes: size.packedLinearBytes, otherBytes: size.packedOtherBytes, of: size)
        savedFraction = size.savedFraction
        layers = size.layers.enumerated().map { index, layer in
            let stored = summary?.layers[index]
            return Layer(
                name: layer.name,
                shape: [layer.outputs, layer.inputs],
                storedType: stored?.weightType,
                storedBytes: stored?.storedBytes,
                packedBytes: layer.packedBytes,
                packedBitsPerWeight: layer.bitsPerWeight,
                packedBitsPerParameter: layer.bitsPerParameter
            )
        }
    }

    /// The tables.
    var text: String {
        """
        \(model): \(kind.map { "\($0), " } ?? "")\(modelType), \(Quantity.count(parameters)) parameters, \
        \(Quantity.count(linearWeights)) of them in linear layers\(layerNormText)

        \(layerTable.text)
        \(sizeTable.text)
        Packing saves \(Quantity.fixed(savedFraction * 100, digits: 1)) % of the float16 model.

        """
    }

    private var layerNormText: String {
        postLayernorm.map { $0 ? "; LayerNorm after each" : "; no LayerNorm after them" } ?? ""
    }

    /// Layers of one role and shape on one line: a 7B model has 224 linears of 7 kinds.
    private var layerTable: TextTable {
        var table = TextTable([
            .text("linear"), .figure("count"), .figure("out × in"), .text("stored"), .figure("stored bytes"),
            .figure("packed bytes"), .figure("bits/weight"), .figure("bits/parameter"),
        ])
        var order: [[String]] = []
        var groups: [[String]: [Layer]] = [:]
        for layer in layers {
            let role = layer.name.split(separator: ".").suffix(2).joined(separator: ".")
            let key = [role, "\(layer.shape[0]) × \(layer.shape[1])", layer.storedType ?? "-"]
            if groups[key] == nil { order.append(key) }
            groups[key, default: []].append(layer)
        }
        for key in order {
            guard let group = groups[key], let first = group.first else { continue }
            table.append([
                key[0], "\(group.count)", key[1], key[2], first.storedBytes.map(Quantity.grouped) ?? "-",
                Quantity.grouped(first.packedBytes), Quantity.fixed(first.packedBitsPerWeight, digits: 4),
                Quantity.fixed(first.packedBitsPerParameter, digits: 4),
            ])
        }
        return table
    }

    private var sizeTable: TextTable {
        var table = TextTable([
            .text("size"), .figure("linear layers"), .figure("the rest"), .figure("whole model"),
            .figure("bits/weight, linear"), .figure("bits/weight, whole"),
        ])
        let forms: [(String, Size?)] = [("stored", stored), ("float16", float16), ("packed", packed)]
        for (name, size) in forms {
            guard let size else { continue }
            table.append([
                name, Quantity.bytes(size.linearBytes), Quantity.bytes(size.otherBytes), Quantity.bytes(size.bytes),
                Quantity.fixed(size.linearBitsPerWeight, digits: 4), Quantity.fixed(size.bitsPerWeight, digits: 4),
            ])
        }
        return table
    }
}
