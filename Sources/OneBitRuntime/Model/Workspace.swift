import ModelFiles

/// The activations of one block of tokens of one sequence.
final class Workspace {
    /// Most tokens that are computed at a time.
    let tokens: Int
    let hiddenSize: Int
    /// The residual stream: [tokens, hiddenSize]
    let hidden: Buffer<Float>
    /// What enters attention and MLP: [tokens, hiddenSize]
    let normed: Buffer<Float>
    /// What they add: [tokens, hiddenSize]
    let change: Buffer<Float>
    /// [tokens, heads · headSize]
    let queries: Buffer<Float>
    /// [tokens, heads · headSize]
    let attended: Buffer<Float>
    /// [tokens, intermediateSize]
    let gated: Buffer<Float>
    /// [tokens, intermediateSize]
    let raised: Buffer<Float>
    /// Of the tokens' positions: [tokens, headSize / 2]
    let cosines: Buffer<Float>
    let sines: Buffer<Float>
    let scratch: SignLinear.Scratch

    private let threads: Int
    private var weights = Buffer<Float>(count: 0)
    private var positions = 0

    init(configuration: ModelConfiguration, tokens: Int, threads: Int) {
        self.tokens = tokens
        self.threads = threads
        hiddenSize = configuration.hiddenSize
        let queryWidth = configuration.attentionHeadCount * configuration.headSize
        hidden = Buffer(count: tokens * hiddenSize)
        normed = Buffer(count: tokens * hiddenSize)
        change = Buffer(count: tokens * hiddenSize)
        queries = Buffer(count: tokens * queryWidth)
        attended = Buffer(count: tokens * queryWidth)
        gated = Buffer(count: tokens * configuration.intermediateSize)
        raised = Buffer(count: tokens * configuration.intermediateSize)
        cosines = Buffer(count: tokens * configuration.headSize / 2)
        sines = Buffer(count: tokens * configuration.headSize / 2)
        let widest = max(hiddenSize, queryWidth, configuration.intermediateSize)
        scratch = SignLinear.Scratch(tokens: tokens, inputs: widest, outputs: widest)
    }

    /// Makes room for attention over as many positions as the cache has room for.
    func reserve(positions: Int) {
        guard positions > self.positions else { return }
        self.positions = positions
        weights = Buffer(count: threads * positions)
    }

    /// Attention weights of one head and token, one room per thread.
    func attentionWeights(worker: Int) -> UnsafeMutablePointer<Float> {
        weights.pointer + worker * positions
    }
}
