import ModelFiles
import OneBitRuntime

/// Teacher or float student as a ``CausalLanguageModel``, for evaluation and generation.
public final class TorchModel: CausalLanguageModel {
    public let model: LlamaModel
    public var configuration: ModelConfiguration { model.configuration }

    public init(_ model: LlamaModel) { self.model = model }

    /// - Parameter threads: Threads inside one operation; libtorch's own choice where nil.
    public convenience init(checkpoint: Checkpoint, threads: Int?) throws {
        if let threads { torchThreads = threads }
        self.init(try LlamaModel(checkpoint: checkpoint))
    }

    public func logits(of tokens: [Int]) throws -> [Float] {
        try withoutGradient { try model(try Tensor(integers: tokens, shape: [1, tokens.count])).logits.floats() }
    }

    public func makeDecoder() throws -> any TokenDecoder {
        TorchDecoder(
            model: model, cache: try model.makeCache(batch: 1, capacity: configuration.maximumPositions))
    }
}

private final class TorchDecoder: TokenDecoder {
    private let model: LlamaModel
    private let cache: KeyValueCache
    var position: Int { cache.length }

    init(model: LlamaModel, cache: KeyValueCache) {
        self.model = model
        self.cache = cache
    }

    func advance(by tokens: [Int]) throws -> [Float] {
        guard cache.length + tokens.count <= cache.capacity else {
            throw TrainingError.contextExceeded(tokens: cache.length + tokens.count, maximum: cache.capacity)
        }
        return try withoutGradient {
            try model.decode(try Tensor(integers: tokens, shape: [1, tokens.count]), cache: cache).floats()
        }
    }
}
