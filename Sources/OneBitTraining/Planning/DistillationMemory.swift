import ModelDescription
import Torch

/// Bytes that one process of a distillation takes, piece by piece.
///
/// Each formula stands beside its piece. Nothing is measured here; `dev/LOG.md` holds the sums against measured
/// peaks.
public struct DistillationMemory: Sendable, Hashable, Codable {
    /// One piece, and where it lies.
    public struct Piece: Sendable, Hashable, Codable {
        public var name: String
        public var deviceBytes: Int
        public var hostBytes: Int
    }

    public private(set) var pieces: [Piece] = []

    /// In all, on the device that computes; the host where that is the CPU.
    public var deviceBytes: Int { pieces.reduce(0) { $0 + $1.deviceBytes } }
    /// In all, in host memory beside an accelerator; 0 where the CPU computes.
    public var hostBytes: Int { pieces.reduce(0) { $0 + $1.hostBytes } }

    private mutating func add(_ name: String, device: Int = 0, host: Int = 0) {
        if device + host > 0 { pieces.append(Piece(name: name, deviceBytes: device, hostBytes: host)) }
    }

    /// What decides the bytes.
    struct Subject {
        let model: ModelConfiguration
        /// Bytes of one number of the teacher as it is stored.
        let teacherElementBytes: Int
        /// Bytes of one number that passes compute with.
        let computeBytes: Int
        let storage: StorageBytes
        let rates: LearningRates
        let sequenceLength: Int
        /// Rows of the head's chunks.
        let chunkRows: Int
    }

    /// Bytes per number of what the optimizer keeps.
    struct StorageBytes: Hashable {
        var latent: Double
        var moment: Double
        var gradient: Double
    }

    /// How a process computes.
    struct Layout: Hashable {
        var placement: Placement
        var processes = 1
        var microBatchSize: Int
        /// Micro-batches that threads of a small model compute at once.
        var workers = 1
        /// Whether an accelerator computes.
        var isAccelerated: Bool
        /// Whether the activations of all blocks are kept, and none is computed again.
        var keepsActivations = false
    }

    init(_ subject: Subject, layout: Layout) {
        let (model, storage) = (subject.model, subject.storage)
        let counts = ParameterCounts(model, rates: subject.rates)
        // Rows are divided over the group wherever they are kept.
        let shards = layout.processes
        func share(_ count: Int, _ bytes: Double) -> Int { Int((Double(count) * bytes / Double(shards)).rounded(.up)) }
        let statesOnHost = layout.placement == .host || layout.placement == .streamed

        // Weights that a pass reads.
        let block = counts.linearWeights / model.layerCount
        let teacherBlocks = counts.linearWeights * subject.teacherElementBytes
        switch layout.placement {
        case .streamed:
            // Two blocks on the device: the one that computes and the one that comes.
            add("teacher's blocks", device: 2 * block * subject.computeBytes, host: teacherBlocks)
        default:
            add("teacher's blocks", device: teacherBlocks)
        }
        add("teacher's embeddings, head and norms", device: counts.floats * subject.teacherElementBytes)
        // One bit per weight; on a CPU two more orders of the same bits, for products with the matrix and its transpose.
        add("student's signs", device: counts.linearWeights / 8 * (layout.isAccelerated ? 1 : 3))
        // Frozen ones are the teacher's own tensors; a process alone on the CPU computes with what its optimizer owns.
        if layout.isAccelerated || layout.processes > 1 {
            add("student's other values", device: counts.trainedFloats * subject.computeBytes)
        }

        // What the optimizer owns: rows of each trained parameter.
        func addState(_ name: String, _ bytes: Int) {
            statesOnHost ? add(name, host: bytes) : add(name, device: bytes)
        }
        addState("latent matrices", share(counts.trainedLatents, storage.latent))
        addState("other trained values", share(counts.trainedFloats, 4))
        addState("sums of gradients", share(counts.trainedLatents + counts.trainedFloats, storage.gradient))
        addState("moments", share(counts.trainedLatents + counts.trainedFloats, 2 * storage.moment))
        if layout.processes > 1, !statesOnHost || layout.processes > 1 {
            // One block's products on their way to their owners, and the received rows.
            add("communication buffers", device: 2 * block * 4)
        }
        if statesOnHost, layout.isAccelerated { add("pinned buffers", host: 2 * block * 4) }

        // Activations of one micro-batch: block inputs and, in float32, the hidden loss's gradients at them.
        let tokens = layout.microBatchSize * subject.sequenceLength
        let (width, layers) = (model.hiddenSize, model.layerCount)
        let kept = tokens * width * (layers + 1) * (subject.computeBytes + 4)
        add("inputs of the blocks and gradients at them", device: kept * layout.workers)
        if layout.keepsActivations {
            add(
                "activations of the blocks",
                device: layers * keptActivations(model, tokens: tokens, bytes: subject.computeBytes))
        }
        if layout.workers > 1 {
            // Each worker hands in its micro-batch's gradients as a whole.
            add(
                "gradients of the workers",
                device: (counts.trainedLatents + counts.trainedFloats) * 4 * layout.workers)
        }
        let (blockPieces, headPieces) = livePieces(subject, layout, tokens: tokens, blockWeights: block)
        func total(_ pieces: [(name: String, bytes: Int)]) -> Int { pieces.reduce(0) { $0 + $1.bytes } }
        // A CPU gives the memory of the blocks back before it takes that of the head; what an accelerator's allocator has,
        // it keeps.
        let live =
            layout.isAccelerated
            ? blockPieces + headPieces
            : total(blockPieces) > total(headPieces) ? blockPieces : headPieces
        for (name, bytes) in live { add(name, device: bytes) }
        add("libraries and workspace", device: layout.isAccelerated ? 1200 << 20 : 260 << 20)
    }

    /// What a pass has of one block at a time, and of the head.
    private func livePieces(
        _ subject: Subject, _ layout: Layout, tokens: Int, blockWeights: Int
    ) -> (block: [(name: String, bytes: Int)], head: [(name: String, bytes: Int)]) {
        let model = subject.model
        let convertsTeacher = subject.teacherElementBytes != subject.computeBytes && layout.placement != .streamed
        // Largest product dYᵀX, float32, before it is added to its sum.
        let largest = model.blockLinears(layer: 0).map(\.weightCount).max() ?? 0
        var block = [
            (
                "one block live",
                blockActivations(model, tokens: tokens, bytes: subject.computeBytes) * layout.workers
            ),
            ("one layer's product", largest * 4 * layout.workers),
        ]
        // Capped scores have a kernel on the CPU, for tokens that see everything. Elsewhere they are there as a whole, in 32
        // bits: before the cap, behind it and behind the softmax, and gradients of two.
        let length = subject.sequenceLength
        let hasKernel = !layout.isAccelerated && (model.structure.slidingWindow ?? .max) >= length
        if model.structure.attentionSoftCap != nil, !hasKernel {
            block.append(
                ("capped scores", 5 * 4 * tokens * length * model.attentionHeadCount * layout.workers))
        }
        if convertsTeacher {
            block.append(("a teacher block in the compute type", blockWeights * subject.computeBytes))
        }

        // Logits of teacher and student, probabilities, and the gradient, float32, of one chunk of tokens; the slope of the cap.
        let head = model.vocabularySize * model.embeddingSize
        let rows = min(subject.chunkRows, tokens)
        let matrices = model.structure.logitSoftCap == nil ? 4 : 5
        var pieces = [("logits of one chunk", rows * model.vocabularySize * 4 * matrices * layout.workers)]
        // A CPU's product takes its matrix in an order of its own.
        if !layout.isAccelerated { pieces.append(("the head's weights in the product's order", head * 4)) }
        if convertsTeacher { pieces.append(("the teacher's head in the compute type", head * subject.computeBytes)) }
        // A process alone on the CPU adds the head's gradient to its sum in place, and the embedding's comes when the pass
        // has little else.
        let isInPlace = !layout.isAccelerated && layout.processes == 1 && layout.workers == 1
        if subject.rates.embedding > 0, !isInPlace {
            let kept = layout.isAccelerated ? 2 : layout.workers
            pieces.append(("gradient of head and embedding", head * 4 * kept))
        }
        return (block, pieces)
    }

    /// What the backward pass of one block, computed again, keeps alive: the norms' inputs and outputs, queries, keys,
    /// values and the attended values, gate, up and their product, each layer's output before h (for dh), and as much
    /// again for gradients on their way.
    private func blockActivations(_ model: ModelConfiguration, tokens: Int, bytes: Int) -> Int {
        let attention = model.attentionHeadCount * model.headSize
        let keyValues = 2 * model.keyValueHeadCount * model.headSize
        let gates = model.block(0).gate == nil ? 1 : 2
        let numbers = 6 * model.hiddenSize + 4 * attention + 3 * keyValues + (3 * gates + 2) * model.intermediateSize
        return tokens * numbers * bytes * 3 / 2
    }

    /// What a block keeps for its backward pass: the norms' inputs and outputs and, of the layers that write to the residual
    /// stream, the outputs before h; queries, keys and values as the attention reads them, repeated for the heads that
    /// share them, and before h; the attended values; gate and up, before h and behind it, and their product.
    private func keptActivations(_ model: ModelConfiguration, tokens: Int, bytes: Int) -> Int {
        let attention = model.attentionHeadCount * model.headSize
        let keyValues = 2 * model.keyValueHeadCount * model.headSize
        let gates = model.block(0).gate == nil ? 1 : 2
        let numbers = 6 * model.hiddenSize + 5 * attention + keyValues + (2 * gates + 1) * model.intermediateSize
        return tokens * numbers * bytes
    }
}

/// Numbers of a model by what becomes of them.
struct ParameterCounts {
    /// Weights of the blocks' linear layers.
    let linearWeights: Int
    /// Everything else of the teacher.
    let floats: Int
    /// Latent weights that are trained.
    let trainedLatents: Int
    /// Value vectors, embeddings, head, norms and biases that are trained.
    let trainedFloats: Int

    init(_ model: ModelConfiguration, rates: LearningRates) {
        linearWeights = model.linearWeightCount
        floats = model.parameterCount - model.linearWeightCount
        trainedLatents = rates.latent > 0 ? linearWeights : 0
        let scales = model.layerCount * model.blockLinears(layer: 0).reduce(0) { $0 + $1.inputs + $1.outputs }
        var trained = rates.scales > 0 ? scales : 0
        for tensor in model.floatTensors {
            let isMatrix = tensor.shape.count > 1
            if (isMatrix ? rates.embedding : rates.norm) > 0 { trained += tensor.elementCount }
        }
        trainedFloats = trained
    }
}

extension DistillationConfiguration {
    /// Sums of gradients are float32 whatever the rest is.
    var storageBytes: DistillationMemory.StorageBytes {
        func bytes(_ dtype: DType) -> Double { Double(dtype.byteWidth) }
        // A scale of four bytes for each block of 8-bit moments.
        let scale = optimizer.momentStorage == .blocks ? 4 / Double(MomentStorage.blockSize) : 0
        return .init(
            latent: bytes(optimizer.latentStorage.dtype), moment: bytes(optimizer.momentStorage.dtype) + scale,
            gradient: 4)
    }

    mutating func useSmallestStorage() {
        optimizer.latentStorage = .bfloat16
        optimizer.momentStorage = .blocks
    }
}
