import CLibTorch
import ModelDescription
import OneBitRuntime

/// Teacher or float student as a `CausalLanguageModel`, for evaluation and generation.
public final class TorchModel: HiddenStateModel {
    public let model: Transformer
    public var configuration: ModelConfiguration { model.configuration }

    /// Threads inside one operation; nil is libtorch's own choice.
    private let threads: Int?
    /// How requests for scores are shared out.
    let parallelism: Parallelism

    /// - Parameters:
    ///   - model: The weights.
    ///   - threads: Threads in all; where nil, as many as there are cores, but one for the single sequence of a model that
    ///     is too small to share.
    public init(_ model: Transformer, threads: Int? = nil) {
        self.model = model
        let parameters = model.configuration.parameterCount
        self.threads = threads ?? (parameters < Parallelism.largestShared ? 1 : nil)
        parallelism = Parallelism(threads: threads, parameters: parameters)
    }

    /// Reads a dense model or a float student.
    public convenience init(checkpoint: Checkpoint, threads: Int?) throws {
        self.init(try Transformer(checkpoint: checkpoint), threads: threads)
    }

    public func logits(of tokens: [Int]) throws -> [Float] {
        if let threads { lt_set_threads(Int32(threads)) }
        return try withoutGradient {
            try model(try Tensor(integers: tokens, shape: [1, tokens.count])).logits.floats()
        }
    }

    public func states(of tokens: [Int]) throws -> ModelStates {
        if let threads { lt_set_threads(Int32(threads)) }
        return try withoutGradient {
            let places = try model.places(of: tokens.count, after: 0)
            var kept: [Tensor] = []
            let x = try model.residual(
                Tensor(integers: tokens, shape: [1, tokens.count]), places: places, observe: { kept.append($0) })
            let last = try model.headInput(x)
            return ModelStates(
                logits: try model.logits(of: last).floats(), hiddenStates: try (kept + [last]).map { try $0.floats() })
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
    private let model: Transformer
    private let cache: KeyValueCache
    private var logits: [Float] = []
    var position: Int { cache.length }
    var contextLength: Int { cache.capacity }

    init(model: Transformer, cache: KeyValueCache) {
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
        guard !logits.isEmpty else { throw LanguageModelError.noTokens }
        return try logits.withUnsafeBufferPointer(body)
    }

    func rewind(to position: Int) {
        cache.rewind(to: position)
        logits = []
    }
}
