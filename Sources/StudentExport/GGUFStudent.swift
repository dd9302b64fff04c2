import Foundation
import ModelDescription
import TensorFiles

/// A student as a model of llama.cpp's: its architecture, its metadata and its tensors.
///
/// Keys and tensor names are those of ggml's `docs/gguf.md` and of the `gguf` package's `constants.py`.
struct GGUFStudent {
    /// Sizes, as they are or filled up with zeros to multiples that a block type needs.
    ///
    /// A wider residual stream carries zeros where it is wider: the embedding's columns are zero there, and so is what rows of
    /// scale 0 add. The mean square of C channels over C′ is C/C′ of theirs, so
    ///
    ///     x / √(Σx²/C + ε) ⊙ w  =  x / √(Σx²/C′ + ε C/C′) ⊙ w √(C/C′)
    ///
    /// Whole heads are added, which read and write zeros.
    struct Sizes: Hashable {
        var hidden: Int
        var heads: Int
        var keyValueHeads: Int
        var intermediate: Int
    }

    /// How llama.cpp computes a family.
    private struct Architecture {
        /// `general.architecture`
        let name: String
        /// Whether rotary pairs are neighbors there: queries and keys are reordered.
        var pairsNeighbors = false
        /// Whether the heads are as wide together as the residual stream.
        var headsSpanHidden = false
    }

    private static let architectures = [
        "llama": Architecture(name: "llama", pairsNeighbors: true),
        "mistral": Architecture(name: "llama", pairsNeighbors: true),
        "qwen2": Architecture(name: "qwen2", headsSpanHidden: true),
        "qwen3": Architecture(name: "qwen3"),
    ]

    let student: Checkpoint
    private let architecture: Architecture
    private let rotary: RotaryPositions
    private let foldings: [InputScaleFolding]
    private let original: Sizes
    private(set) var sizes: Sizes

    private var configuration: ModelConfiguration { student.configuration }
    private var headSize: Int { configuration.headSize }

    /// - Throws: ``ExportError/notExpressible(directory:what:format:)``, and what reading throws.
    init(_ student: Checkpoint) throws {
        func refuse(_ what: String) -> ExportError {
            .notExpressible(directory: student.directory.path, what: what, format: "GGUF")
        }
        let configuration = student.configuration
        guard let architecture = Self.architectures[configuration.modelType] else {
            throw refuse("\"\(configuration.modelType)\", for which llama.cpp has no architecture")
        }
        guard case .rotary(let rotary) = configuration.structure.positions, !rotary.dependsOnLength else {
            throw refuse("rotations that depend on the length of a sequence")
        }
        if case .yarn = rotary.scaling { throw refuse("the rotations of YaRN as transformers computes them") }
        self.student = student
        self.architecture = architecture
        self.rotary = rotary
        foldings = try (0..<configuration.layerCount).map { try InputScaleFolding($0, of: student) }
        original = Sizes(
            hidden: configuration.hiddenSize, heads: configuration.attentionHeadCount,
            keyValueHeads: configuration.keyValueHeadCount, intermediate: configuration.intermediateSize)
        sizes = original
    }

    /// Whether every layer is signs and a scale per row.
    var isFoldable: Bool { foldings.allSatisfy(\.isComplete) }

    // MARK: Filling up

    /// Fills all widths up to multiples of a block's.
    mutating func pad(toMultiplesOf block: Int) {
        func filled(_ width: Int) -> Int { (width + block - 1) / block * block }
        let group = original.heads / original.keyValueHeads
        sizes.hidden = filled(original.hidden)
        sizes.intermediate = filled(original.intermediate)
        while sizes.keyValueHeads * group * headSize % block != 0
            || architecture.headsSpanHidden && sizes.keyValueHeads * group * headSize < sizes.hidden
        {
            sizes.keyValueHeads += 1
        }
        sizes.heads = sizes.keyValueHeads * group
        if architecture.headsSpanHidden { sizes.hidden = sizes.heads * headSize }
    }

    /// What was filled up, for a message.
    var padding: [String] {
        [
            ("hidden size", original.hidden, sizes.hidden), ("heads", original.heads, sizes.heads),
            ("MLP width", original.intermediate, sizes.intermediate),
        ].filter { $0.1 != $0.2 }.map { "\($0.0) \($0.1) to \($0.2)" }
    }

    /// C / C′
    private var occupied: Float { Float(original.hidden) / Float(sizes.hidden) }

    // MARK: Metadata

    /// Everything but the tokenizer.
    func metadata(file: String, type: GGUFTensorType) throws -> GGUFMetadata {
        var metadata = GGUFMetadata(file: file)
        metadata["general.architecture"] = .string(architecture.name)
        metadata["general.type"] = .string("model")
        metadata["general.name"] = .string(student.directory.standardizedFileURL.lastPathComponent)
        metadata["general.file_type"] = .uint32(type.fileType)
        metadata["general.quantization_version"] = .uint32(2)
        func set(_ key: String, _ value: GGUFValue) { metadata["\(architecture.name).\(key)"] = value }
        func set(_ key: String, _ value: Int) { set(key, .uint32(UInt32(value))) }
        // Attention sees everything there; within a window it is the same.
        set("context_length", min(configuration.maximumPositions, configuration.structure.slidingWindow ?? .max))
        set("embedding_length", sizes.hidden)
        set("block_count", configuration.layerCount)
        set("feed_forward_length", sizes.intermediate)
        set("attention.head_count", sizes.heads)
        set("attention.head_count_kv", sizes.keyValueHeads)
        set("attention.key_length", headSize)
        set("attention.value_length", headSize)
        set("attention.layer_norm_rms_epsilon", .float32(configuration.normEpsilon * occupied))
        set("rope.dimension_count", headSize)
        set("rope.freq_base", .float32(rotary.base))
        if case .linear(let factor) = rotary.scaling {
            set("rope.scaling.type", .string("linear"))
            set("rope.scaling.factor", .float32(factor))
        }
        set("vocab_size", configuration.vocabularySize)
        return metadata
    }

    // MARK: Tensors

    /// What a tensor of the file is made of.
    fileprivate enum Source {
        case embedding, head, finalNorm, frequencyDivisors
        case attentionNorm(layer: Int)
        case mlpNorm(layer: Int)
        case headNorm(NormDescription)
        case weight(LinearRole, layer: Int)
        case bias(LinearRole, layer: Int)

        /// The block whose folding it needs.
        var layer: Int? {
            switch self {
            case .embedding, .head, .finalNorm, .frequencyDivisors, .headNorm: nil
            case .attentionNorm(let layer), .mlpNorm(let layer), .weight(_, let layer), .bias(_, let layer): layer
            }
        }
    }

    /// A tensor of the file.
    struct Entry {
        let tensor: GGUFTensorDescription
        fileprivate let source: Source
        /// Parameters of the model that it holds.
        let parameterCount: Int
    }

    /// The tensors in the order in which they are written.
    ///
    /// - Throws: ``ExportError/widthNotAMultiple(tensor:width:block:type:)``
    func plan(denseType: GGUFTensorType, embeddingType: GGUFTensorType) throws -> [Entry] {
        var entries: [Entry] = []
        func add(_ name: String, _ type: GGUFTensorType, _ shape: [Int], _ source: Source, parameters: Int = 0) throws {
            if shape.last! % type.blockSize != 0 {
                throw ExportError.widthNotAMultiple(
                    tensor: name, width: shape.last!, block: type.blockSize, type: type.name)
            }
            entries.append(
                Entry(
                    tensor: GGUFTensorDescription(name: name, type: type, shape: shape), source: source,
                    parameterCount: parameters))
        }
        let vocabulary = [configuration.vocabularySize, sizes.hidden]
        try add(
            "token_embd.weight", embeddingType, vocabulary, .embedding,
            parameters: configuration.embedding.elementCount)
        if frequencyDivisors != nil { try add("rope_freqs.weight", .f32, [headSize / 2], .frequencyDivisors) }
        for layer in 0..<configuration.layerCount {
            let block = configuration.block(layer)
            try add("blk.\(layer).attn_norm.weight", .f32, [sizes.hidden], .attentionNorm(layer: layer))
            try add("blk.\(layer).ffn_norm.weight", .f32, [sizes.hidden], .mlpNorm(layer: layer))
            if let queryNorm = block.queryNorm, let keyNorm = block.keyNorm {
                try add("blk.\(layer).attn_q_norm.weight", .f32, [headSize], .headNorm(queryNorm))
                try add("blk.\(layer).attn_k_norm.weight", .f32, [headSize], .headNorm(keyNorm))
            }
            for (role, linear) in roles(of: block) {
                let (rows, columns) = extents(role)
                let isSigns = isFolded(role, layer) && columns % GGUFTensorType.q10.blockSize == 0
                let stem = "blk.\(layer).\(role.rawValue)"
                try add(
                    stem + ".weight", isSigns ? .q10 : denseType, [rows, columns], .weight(role, layer: layer),
                    parameters: linear.weightCount)
                if linear.hasBias { try add(stem + ".bias", .f32, [rows], .bias(role, layer: layer)) }
            }
        }
        try add("output_norm.weight", .f32, [sizes.hidden], .finalNorm)
        if !configuration.tiedEmbeddings {
            try add(
                "output.weight", embeddingType, vocabulary, .head, parameters: configuration.head.elementCount)
        }
        return entries
    }

    /// Writes the planned tensors.
    func write(
        _ entries: [Entry], to writer: GGUFWriter, progress: (_ completed: Int) throws -> Void
    ) throws {
        var completed = 0
        var current: (layer: Int, block: FoldedBlock)?
        for entry in entries {
            try Task.checkCancellation()
            if let layer = entry.source.layer, current?.layer != layer {
                current = (layer, try FoldedBlock(configuration.block(layer), by: foldings[layer], of: student))
            }
            try writer.write(entry.tensor.name, floats: floats(of: entry, current?.block))
            completed += entry.parameterCount
            try progress(completed)
        }
        try writer.finish()
        try progress(configuration.parameterCount)
    }

    /// - Parameter block: the one that the entry's source names, if it names one.
    private func floats(of entry: Entry, _ block: FoldedBlock?) throws -> [Float] {
        switch (entry.source, block) {
        case (.embedding, _): return try widened(configuration.embedding)
        case (.head, _): return try widened(configuration.head)
        case (.finalNorm, _): return norm(try student.floats(of: configuration.finalNorm!.weight.name))
        case (.frequencyDivisors, _): return frequencyDivisors!
        case (.headNorm(let norm), _): return try student.floats(of: norm.weight.name)
        case (.attentionNorm, let block?): return norm(block.attentionNorm)
        case (.mlpNorm, let block?): return norm(block.mlpNorm)
        case (.bias(let role, _), let block?):
            let bias = block[role].bias!
            let rows = extents(role).rows
            return inRotaryOrder(bias + [Float](repeating: 0, count: rows - bias.count), width: 1, role)
        case (.weight(let role, _), let block?):
            let (rows, columns) = extents(role)
            var linear = block[role]
            let isSigns = entry.tensor.type == .q10
            // The scale of a block is a half. A block takes it from the mean of magnitudes, which is exact of halves that are
            // equal: the columns that are filled up, whose inputs are zero, have it too.
            if isSigns { linear.outputScale = linear.outputScale.map { Float(Float16($0)) } }
            return inRotaryOrder(
                linear.weight(rows: rows, columns: columns, fillsColumns: isSigns), width: columns, role)
        case (_, nil): preconditionFailure("a tensor of a block without the block")
        }
    }

    /// A table with rows of the hidden size, with zeros behind them.
    private func widened(_ table: TensorShape) throws -> [Float] {
        let floats = try student.floats(of: table.name)
        try student.releasePages(of: table.name)
        guard sizes.hidden != original.hidden else { return floats }
        var wide = [Float](repeating: 0, count: table.shape[0] * sizes.hidden)
        for row in 0..<table.shape[0] {
            for column in 0..<original.hidden {
                wide[row * sizes.hidden + column] = floats[row * original.hidden + column]
            }
        }
        return wide
    }

    /// w √(C/C′), and zeros.
    private func norm(_ weight: [Float]) -> [Float] {
        weight.map { $0 * occupied.squareRoot() } + [Float](repeating: 0, count: sizes.hidden - original.hidden)
    }

    /// Rows of queries and keys in the order in which llama.cpp rotates them: channel i of a head, which is rotated with i + d/2,
    /// is 2i there, and its partner 2i + 1.
    private func inRotaryOrder(_ rows: [Float], width: Int, _ role: LinearRole) -> [Float] {
        guard architecture.pairsNeighbors, role == .query || role == .key else { return rows }
        let head = headSize * width
        return stride(from: 0, to: rows.count, by: head).flatMap { first in
            (0..<headSize).flatMap { row in
                let source = first + (row / 2 + row % 2 * headSize / 2) * width
                return rows[source..<source + width]
            }
        }
    }

    /// What the frequencies are divided by, of LLaMA 3's scaling.
    private var frequencyDivisors: [Float]? {
        guard case .llama3 = rotary.scaling else { return nil }
        let plain = RotaryPositions(base: rotary.base).frequencies(headSize: headSize, sequenceLength: 1)
        return zip(plain, rotary.frequencies(headSize: headSize, sequenceLength: 1)).map { $0 / $1 }
    }

    // MARK: The layers of a block

    /// The layers by the names that they have there.
    enum LinearRole: String, CaseIterable {
        case query = "attn_q"
        case key = "attn_k"
        case value = "attn_v"
        case output = "attn_output"
        case gate = "ffn_gate"
        case up = "ffn_up"
        case down = "ffn_down"
    }

    private func roles(of block: BlockDescription) -> [(LinearRole, LinearDescription)] {
        Array(zip(LinearRole.allCases, block.linears))
    }

    private func extents(_ role: LinearRole) -> (rows: Int, columns: Int) {
        switch role {
        case .query: (sizes.heads * headSize, sizes.hidden)
        case .key, .value: (sizes.keyValueHeads * headSize, sizes.hidden)
        case .output: (sizes.hidden, sizes.heads * headSize)
        case .gate, .up: (sizes.intermediate, sizes.hidden)
        case .down: (sizes.hidden, sizes.intermediate)
        }
    }

    private func isFolded(_ role: LinearRole, _ layer: Int) -> Bool {
        switch role {
        case .query, .key, .value: foldings[layer].readers
        case .output: foldings[layer].output
        case .gate, .up: foldings[layer].expanders
        case .down: true
        }
    }

    /// Why layers of a plan are not signs.
    func reasons(for plan: [Entry]) -> [String] {
        var reasons: [String] = []
        if !foldings.allSatisfy(\.readers) { reasons.append("q, k and v have input scales of their own") }
        if !foldings.allSatisfy(\.output) { reasons.append("query heads of a group have input scales of their own") }
        if !foldings.allSatisfy(\.expanders) { reasons.append("gate and up have input scales of their own") }
        let block = GGUFTensorType.q10.blockSize
        for role in [LinearRole.output, .down] where extents(role).columns % block != 0 {
            reasons.append("\(role.rawValue)'s \(extents(role).columns) columns do not divide into blocks of \(block)")
        }
        return reasons
    }
}

extension FoldedBlock {
    fileprivate subscript(role: GGUFStudent.LinearRole) -> OneBitLayer {
        switch role {
        case .query: query
        case .key: key
        case .value: value
        case .output: output
        case .gate: gate
        case .up: up
        case .down: down
        }
    }
}

extension GGUFTensorType {
    /// `general.file_type`, llama.cpp's number of a model whose matrices are mostly of this type.
    fileprivate var fileType: UInt32 {
        switch self {
        case .f16: 1
        case .q80: 7
        case .bf16: 32
        case .q10: 40
        default: 0
        }
    }
}
