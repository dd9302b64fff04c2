import LanguageModel
import ModelDescription
import TensorFiles
import Torch

/// Teacher or float student as a `CausalLanguageModel`, for evaluation and generation.
public final class TorchModel: HiddenStateModel {
    public let model: Transformer
    public var configuration: ModelConfiguration { model.configuration }

    /// Threads inside one operation; nil is libtorch's own choice.
    private let threads: Int?
    /// How requests for scores are shared out.
    let collective: Collective

    /// - Parameters:
    ///   - model: The weights.
    ///   - threads: Threads in all; where nil, as many as there are cores, but one for the single sequence of a model that
    ///     is too small to share.
    public init(_ model: Transformer, threads: Int? = nil) {
        self.model = model
        let parameters = model.configuration.parameterCount
        self.threads = threads ?? (parameters < Collective.largestShared ? 1 : nil)
        collective = Collective(threads: threads, parameters: parameters, device: model.device)
    }

    /// Reads a dense model or a float student.
    ///
    /// - Parameters:
    ///   - checkpoint: Not a packed one.
    ///   - threads: Threads in all, as above.
    ///   - device: Where to compute.
    ///   - computeType: Type of the activations; the weights keep the file's type where it is another than float32.
    public convenience init(
        checkpoint: Checkpoint, threads: Int?, device: Device = .cpu, computeType: DType = .float32
    ) throws {
        self.init(
            try Transformer(
                checkpoint: checkpoint, computeType: computeType, keepsFileTypes: computeType != .float32,
                device: device), threads: threads)
    }

    public func logits(of tokens: [Int]) throws -> [Float] {
        try check(tokens)
        return try pass { try model(try input(tokens)).logits.floats() }
    }

    public func states(of tokens: [Int]) throws -> ModelStates {
        try check(tokens)
        return try pass {
            var kept: [Tensor] = []
            let x = try model.residual(
                input(tokens), at: model.positions(length: tokens.count), observe: { kept.append($0) })
            let last = try model.headInput(x)
            return ModelStates(
                logits: try model.logits(of: last).floats(), hiddenStates: try (kept + [last]).map { try $0.floats() })
        }
    }

    public func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        TorchDecodingContext(self, limits: limits)
    }

    func input(_ tokens: [Int]) throws -> Tensor {
        try .integers(tokens, shape: [1, tokens.count], device: model.device)
    }

    /// Runs `body` with this model's threads, and without a backward pass to come.
    func pass<Result>(_ body: () throws -> Result) throws -> Result {
        if let threads { setOperationThreads(threads) }
        return try withoutGradient(body)
    }
}
