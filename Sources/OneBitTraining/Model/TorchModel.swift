import CLibTorch
import ModelFiles
import OneBitRuntime

/// Teacher or float student as a ``CausalLanguageModel``, for evaluation and generation.
public final class TorchModel: CausalLanguageModel {
    public let model: LlamaModel
    public var configuration: ModelConfiguration { model.configuration }

    private let threads: Int?

    /// - Parameter threads: Threads inside one operation; where nil, one for a model that is too small to share, and
    ///   libtorch's own choice otherwise.
    public init(_ model: LlamaModel, threads: Int? = nil) {
        self.model = model
        self.threads = threads ?? (model.configuration.parameterCount < Parallelism.largestShared ? 1 : nil)
    }

    /// Reads a dense model or a float student.
    public convenience init(checkpoint: Checkpoint, threads: Int?) throws {
        self.init(try LlamaModel(checkpoint: checkpoint), threads: threads)
    }

    public func logits(of tokens: [Int]) throws -> [Float] {
        if let threads { lt_set_threads(Int32(threads)) }
        return try withoutGradient {
            try model(try Tensor(integers: tokens, shape: [1, tokens.count])).logits.floats()
        }
    }

    public func makeDecoder(contextLength: Int?) throws -> any TokenDecoder {
        if let threads { lt_set_threads(Int32(threads)) }
        let longest = configuration.maximumPositions
        return TorchDecoder(
            model: model, cache: try model.makeCache(batch: 1, capacity: min(contextLength ?? longest, longest)))
    }
}

private final class TorchDecoder: TokenDecoder {
    private let model: LlamaModel
    private let cache: KeyValueCache
    private var logits: [Float] = []
    var position: Int { cache.length }
    var contextLength: Int { cache.capacity }

    init(model: LlamaModel, cache: KeyValueCache) {
        self.model = model
        self.cache = cache
    }

    func advance(by tokens: [Int]) throws {
        guard cache.length + tokens.count <= cache.capacity else {
            throw TrainingError.contextExceeded(tokens: cache.length + tokens.count, maximum: cache.capacity)
        }
        logits = try withoutGradient {
            try model.decode(try Tensor(integers: tokens, shape: [1, tokens.count]), cache: cache).floats()
        }
    }

    func withLogits<Result>(_ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        guard !logits.isEmpty else { throw RuntimeError.noTokens }
        return try logits.withUnsafeBufferPointer(body)
    }

    func rewind(to position: Int) {
        cache.rewind(to: position)
        logits = []
    }
}
