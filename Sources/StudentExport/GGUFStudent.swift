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
    /// Whole heads are added, which read and write zeros. The mean of a LayerNorm has no such form: its width stays as it is.
    struct Sizes: Hashable {
        var hidden: Int
        var heads: Int
        var keyValueHeads: Int
        var intermediate: Int
    }

    let student: Checkpoint
    private let architecture: LlamaArchitecture
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
        guard let architecture = LlamaArchitecture.all[configuration.modelType] else {
            throw refuse("\"\(configuration.modelType)\", for which llama.cpp has no architecture")
        }
        if let what = architecture.inexpressible(of: configuration) { throw refuse(what) }
        guard case .rotary(let rotary) = configuration.structure.positions else {
            preconditionFailure("an architecture without rotary positions")
        }
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
        sizes.intermediate = filled(original.intermediate)
        // Where the residual stream stays as it is, so do heads that are as wide.
        let isWidened = configuration.structure.normalization != .layer
        guard isWidened || !architecture.headsSpanHidden else { return }
        if isWidened { sizes.hidden = filled(original.hidden) }
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
        // Where it knows no windows, attention sees everything there; within a window it is the same.
        let window = architecture.gemma == nil ? configuration.structure.slidingWindow : nil
        set("context_length", min(configuration.maximumPositions, window ?? .max))
        set("embedding_length", sizes.hidden)
        set("block_count", configuration.layerCount)
        set("feed_forward_length", sizes.intermediate)
        set("attention.head_count", sizes.heads)
        set("attention.head_count_kv", sizes.keyValueHeads)
        set("attention.key_length", headSize)
        set("attention.value_length", headSize)
        let epsilon = configuration.structure.normalization == .layer ? "layer_norm_epsilon" : "layer_norm_rms_epsilon"
        set("attention.\(epsilon)", .float32(configuration.normEpsilon * occupied))
        set("rope.dimension_count", rotary.rotatedChannels(headSize: headSize))
        set("rope.freq_base", .float32(rotary.base))
        if case .linear(let factor) = rotary.scaling {
            set("rope.scaling.type", .string("linear"))
            set("rope.scaling.factor", .float32(factor))
        }
        set("vocab_size", configuration.vocabularySize)
        for (key, value) in factors { set(key, .float32(value)) }
        if let gemma = architecture.gemma {
            for (key, value) in windows(fullLayerEvery: gemma.fullLayerEvery) { set(key, value) }
        }
        return metadata
    }

    /// Factors and caps of what is computed.
    private var factors: [(String, Float)] {
        let structure = configuration.structure
        var factors: [(String, Float)] = []
        if architecture.hasMultipliers {
            factors += [
                ("embedding_scale", structure.embeddingMultiplier), ("residual_scale", structure.residualMultiplier),
                ("attention.scale", structure.attentionScale ?? 1 / Float(headSize).squareRoot()),
                ("logit_scale", 1 / structure.logitMultiplier),
            ]
        }
        if let cap = structure.attentionSoftCap { factors.append(("attn_logit_softcapping", cap)) }
        if let cap = structure.logitSoftCap { factors.append(("final_logit_softcapping", cap)) }
        return factors
    }

    /// Windows by layer, as numbers where they are those that the architecture takes for granted.
    private func windows(fullLayerEvery period: Int) -> [(String, GGUFValue)] {
        let structure = configuration.structure
        let windowed = (0..<configuration.layerCount).map { structure.windowedLayers.contains($0) }
        var values: [(String, GGUFValue)] = []
        if let window = structure.slidingWindow {
            values.append(("attention.sliding_window", .uint32(UInt32(window))))
        }
        if windowed != windowed.indices.map({ ($0 + 1) % period != 0 }) {
            values.append(("attention.sliding_window_pattern", .array(GGUFArray(windowed))))
        }
        if let base = structure.windowedRotation?.base { values.append(("rope.freq_base_swa", .float32(base))) }
        return values
    }

    /// √(C/C′) where the architecture multiplies embeddings by √C′.
    private var embeddingFactor: Float { architecture.gemma == nil ? 1 : occupied.squareRoot() }

    /// What the final norm's weights are larger by where the embedding is the output projection too.
    private var headFactor: Float { configuration.tiedEmbeddings ? 1 / embeddingFactor : 1 }

    /// What scores have to be multiplied by besides what the architecture does.
    private var scoreFactor: Float {
        guard let gemma = architecture.gemma, let scale = configuration.structure.attentionScale else { return 1 }
        let width = configuration.layerCount == gemma.largestLayerCount ? sizes.hidden / sizes.heads : headSize
        return scale * Float(width).squareRoot()
    }

    // MARK: Tensors

    /// What a tensor of the file is made of.
    fileprivate enum Source {
        case embedding, head, frequencyDivisors
        /// A norm as wide as the residual stream, as it is but for a factor.
        case norm(NormDescription, Part, factor: Float = 1)
        /// One of queries or keys.
        case headNorm(NormDescription, factor: Float)
        case attentionNorm(Part, layer: Int)
        case mlpNorm(Part, layer: Int)
        /// Several layers are one below the other.
        case weight([LinearRole], layer: Int)
        case bias(LinearRole, layer: Int)

        /// The part of a norm.
        enum Part: String { case weight, bias }

        /// The block whose folding it needs.
        var layer: Int? {
            switch self {
            case .embedding, .head, .frequencyDivisors, .norm, .headNorm: nil
            case .attentionNorm(_, let layer), .mlpNorm(_, let layer), .weight(_, let layer), .bias(_, let layer): layer
            }
        }
    }

    /// A tensor of the file.
    struct Entry {
        let tensor: GGUFTensorDescription
        fileprivate let source: Source
        /// Parameters of the model that it holds.
        let parameterCount: Int

        /// One-bit layers that it holds.
        var layerCount: Int { if case .weight(let roles, _) = source { roles.count } else { 0 } }
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
        func add(_ stem: String, norm: NormDescription, _ source: (Source.Part) -> Source) throws {
            try add(stem + ".weight", .f32, [sizes.hidden], source(.weight))
            if norm.bias != nil { try add(stem + ".bias", .f32, [sizes.hidden], source(.bias)) }
        }
        for layer in 0..<configuration.layerCount {
            let block = configuration.block(layer)
            let stem = "blk.\(layer)."
            let areOnOutputs = configuration.structure.normPlacement == .onSublayerOutputs
            let names = areOnOutputs ? ("post_attention_norm", "post_ffw_norm") : ("attn_norm", "ffn_norm")
            try add(stem + names.0, norm: block.attentionNorm) { .attentionNorm($0, layer: layer) }
            try add(stem + names.1, norm: block.mlpNorm) { .mlpNorm($0, layer: layer) }
            if let attention = block.attentionOutputNorm, let mlp = block.mlpOutputNorm {
                try add(stem + "post_attention_norm", norm: attention) { .norm(attention, $0) }
                try add(stem + "post_ffw_norm", norm: mlp) { .norm(mlp, $0) }
            }
            if let query = block.queryNorm, let key = block.keyNorm {
                try add(stem + "attn_q_norm.weight", .f32, query.weight.shape, .headNorm(query, factor: scoreFactor))
                try add(stem + "attn_k_norm.weight", .f32, key.weight.shape, .headNorm(key, factor: 1))
            }
            for roles in matrices {
                let parts = roles.map(extents)
                let (rows, columns) = (parts.reduce(0) { $0 + $1.rows }, parts[0].columns)
                let isSigns =
                    roles.allSatisfy { isFolded($0, layer) } && columns % GGUFTensorType.q10.blockSize == 0
                let linears = roles.map { block[$0] }
                let name = stem + roles[roles.count - 1].rawValue
                try add(
                    name + ".weight", isSigns ? .q10 : denseType, [rows, columns], .weight(roles, layer: layer),
                    parameters: linears.reduce(0) { $0 + $1.weightCount })
                if linears[0].hasBias { try add(name + ".bias", .f32, [rows], .bias(roles[0], layer: layer)) }
            }
        }
        if let norm = configuration.finalNorm {
            try add("output_norm", norm: norm) { .norm(norm, $0, factor: headFactor) }
        }
        if !configuration.tiedEmbeddings || architecture.head == .own {
            try add(
                "output.weight", embeddingType, vocabulary, .head,
                parameters: configuration.tiedEmbeddings ? 0 : configuration.head.elementCount)
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
        case (.embedding, _): return try widened(configuration.embedding, factor: embeddingFactor)
        case (.head, _):
            return try widened(configuration.head, factor: configuration.tiedEmbeddings ? embeddingFactor : 1)
        case (.frequencyDivisors, _): return frequencyDivisors!
        case (.norm(let description, let part, let factor), _):
            return norm(try NormWeights(description, of: student), part).map { $0 * factor }
        case (.headNorm(let norm, let factor), _):
            return try NormWeights(norm, of: student).weight.map { $0 * factor }
        case (.attentionNorm(let part, _), let block?): return norm(block.attentionNorm, part)
        case (.mlpNorm(let part, _), let block?): return norm(block.mlpNorm, part)
        case (.bias(let role, _), let block?):
            let bias = block[role].bias!
            let rows = extents(role).rows
            return inRotaryOrder(bias + [Float](repeating: 0, count: rows - bias.count), width: 1, role)
        case (.weight(let roles, _), let block?):
            return roles.flatMap { weight(block[$0], $0, isSigns: entry.tensor.type == .q10) }
        case (_, nil): preconditionFailure("a tensor of a block without the block")
        }
    }

    private func weight(_ layer: OneBitLayer, _ role: LinearRole, isSigns: Bool) -> [Float] {
        let (rows, columns) = extents(role)
        var layer = layer
        // Where queries are not normalized, scores get their factor here.
        if role == .query, configuration.structure.queryKeyNorm == nil, scoreFactor != 1 {
            layer.outputScale = layer.outputScale.map { $0 * scoreFactor }
        }
        // The scale of a block is a half. A block takes it from the mean of magnitudes, which is exact of halves that are
        // equal: the columns that are filled up, whose inputs are zero, have it too.
        if isSigns { layer.outputScale = layer.outputScale.map { Float(Float16($0)) } }
        return inRotaryOrder(
            layer.weight(rows: rows, columns: columns, fillsColumns: isSigns), width: columns, role)
    }

    /// A table with rows of the hidden size, with zeros behind them.
    private func widened(_ table: TensorShape, factor: Float) throws -> [Float] {
        let stored = try student.floats(of: table.name)
        let floats = factor == 1 ? stored : stored.map { $0 * factor }
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

    /// w √(C/C′) and zeros, or b.
    private func norm(_ norm: NormWeights, _ part: Source.Part) -> [Float] {
        switch part {
        case .weight:
            norm.weight.map { $0 * occupied.squareRoot() }
                + [Float](repeating: 0, count: sizes.hidden - original.hidden)
        case .bias: norm.bias!
        }
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

    /// The matrices of a block, by the layers whose rows they have.
    private var matrices: [[LinearRole]] {
        guard architecture.fusesGateAndUp else { return LinearRole.allCases.map { [$0] } }
        return [[.query], [.key], [.value], [.output], [.gate, .up], [.down]]
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
        let hasNorms = foldings.allSatisfy(\.hasNormBefore)
        if !hasNorms {
            reasons.append("q, k, v, gate and up read the residual stream itself, where their input scales cannot go")
        }
        if hasNorms, !foldings.allSatisfy(\.readers) { reasons.append("q, k and v have input scales of their own") }
        if !foldings.allSatisfy(\.output) { reasons.append("query heads of a group have input scales of their own") }
        if hasNorms, !foldings.allSatisfy(\.expanders) { reasons.append("gate and up have input scales of their own") }
        let block = GGUFTensorType.q10.blockSize
        for role in LinearRole.allCases where isReason(role) && extents(role).columns % block != 0 {
            reasons.append("\(role.rawValue)'s \(extents(role).columns) columns do not divide into blocks of \(block)")
        }
        return reasons
    }

    /// Whether a layer is dense for its width alone.
    private func isReason(_ role: LinearRole) -> Bool {
        [.output, .down].contains(role) || isFoldable && [.query, .up].contains(role)
    }
}

extension BlockDescription {
    fileprivate subscript(role: GGUFStudent.LinearRole) -> LinearDescription {
        switch role {
        case .query: query
        case .key: key
        case .value: value
        case .output: output
        case .gate: gate!
        case .up: up
        case .down: down
        }
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
