import ModelDescription

/// How llama.cpp computes a family: what its architecture has keys and tensors for, and what it takes for granted. Of
/// `src/models` and `conversion` as llama-cpp-python 0.3.36 has them.
struct LlamaArchitecture {
    /// `general.architecture`
    let name: String
    /// Whether rotary pairs are neighbors there: queries and keys are reordered.
    var pairsNeighbors = false
    /// Whether the heads are as wide together as the residual stream.
    var headsSpanHidden = false
    /// The layers that may add a bias.
    var biases: Set<DecoderStructure.LinearRole> = []
    /// Whether it has an output projection.
    var head = Head.optional
    /// Whether gate and up are one matrix.
    var fusesGateAndUp = false
    /// Whether frequencies may have divisors, LLaMA 3's scaling.
    var dividesFrequencies = false
    /// Whether it reads the factors of embedding, scores, sublayers and logits; others have none.
    var hasMultipliers = false
    /// Of Gemma: embeddings times the root of their width, scores times `fixedScale`, windows.
    var gemma: Gemma?
    /// Every so many layers one is not rotated.
    var unrotatedPeriod: Int?

    enum Head {
        /// The embedding where there is none.
        case optional
        /// One of its own in any case.
        case own
        /// The embedding in any case.
        case tied
    }

    struct Gemma {
        /// Layers of the model whose scores are scaled by the width that its heads have of the residual stream.
        let largestLayerCount: Int
        /// Every so many layers one sees everything, unless an array says which do.
        let fullLayerEvery: Int
        /// Whether scores are capped, and logits too, in any case.
        let capsAlways: Bool
    }

    /// By `model_type`.
    static let all: [String: LlamaArchitecture] = {
        let attention: Set<DecoderStructure.LinearRole> = [.query, .key, .value]
        let every = Set(DecoderStructure.LinearRole.allCases)
        let llama = LlamaArchitecture(name: "llama", pairsNeighbors: true, biases: every, dividesFrequencies: true)
        return [
            "llama": llama,
            "mistral": llama,
            "qwen2": LlamaArchitecture(name: "qwen2", headsSpanHidden: true, biases: attention),
            "qwen3": LlamaArchitecture(name: "qwen3", biases: attention),
            "smollm3": LlamaArchitecture(
                name: "smollm3", pairsNeighbors: true, biases: attention, unrotatedPeriod: 4),
            "olmo2": LlamaArchitecture(name: "olmo2", headsSpanHidden: true, head: .own),
            "granite": LlamaArchitecture(
                name: "granite", pairsNeighbors: true, biases: every, dividesFrequencies: true, hasMultipliers: true),
            "phi3": LlamaArchitecture(name: "phi3", headsSpanHidden: true, fusesGateAndUp: true),
            "stablelm": LlamaArchitecture(name: "stablelm", headsSpanHidden: true, biases: attention, head: .own),
            "gemma2": LlamaArchitecture(
                name: "gemma2", head: .tied, gemma: Gemma(largestLayerCount: 46, fullLayerEvery: 2, capsAlways: true)),
            "gemma3_text": LlamaArchitecture(
                name: "gemma3", gemma: Gemma(largestLayerCount: 62, fullLayerEvery: 6, capsAlways: false)),
        ]
    }()

    /// What of a model it has no way to say; nil where it can say everything.
    func inexpressible(of configuration: ModelConfiguration) -> String? {
        let structure = configuration.structure
        guard case .rotary(let rotary) = structure.positions, !rotary.dependsOnLength else {
            return "rotations that depend on the length of a sequence"
        }
        if case .yarn = rotary.scaling { return "the rotations of YaRN as transformers computes them" }
        if case .llama3 = rotary.scaling, !dividesFrequencies { return "LLaMA 3's scaling of rotations in \"\(name)\"" }
        if let windowed = structure.windowedRotation, windowed.scaling != .none {
            return "a scaling of the rotations in windowed layers"
        }
        if !structure.biases.isSubset(of: biases) { return "biases of these layers in \"\(name)\"" }
        if headsSpanHidden, configuration.attentionHeadCount * configuration.headSize != configuration.hiddenSize {
            return "heads of another width together than the residual stream in \"\(name)\""
        }
        if head == .tied, !configuration.tiedEmbeddings { return "an output projection in \"\(name)\"" }
        let unrotated = (0..<configuration.layerCount).filter { layer in
            unrotatedPeriod.map { (layer + 1) % $0 == 0 } ?? false
        }
        if structure.unrotatedLayers != Set(unrotated) { return "which layers are not rotated" }
        if let gemma, gemma.capsAlways, structure.attentionSoftCap == nil || structure.logitSoftCap == nil {
            return "scores and logits without a cap in \"\(name)\""
        }
        return nil
    }
}
