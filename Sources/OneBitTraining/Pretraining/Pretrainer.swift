import Foundation
import ModelDescription
import ResumableRuns
import TensorFiles
import Torch

/// Shape of a LLaMA model to be made from nothing.
public struct PretrainingShape: Sendable, Hashable, Codable {
    public var vocabularySize: Int
    public var hiddenSize: Int
    public var intermediateSize: Int
    public var layers: Int
    public var attentionHeads: Int
    public var keyValueHeads: Int
    /// Longest sequence, in tokens.
    public var context: Int

    public init(
        vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layers: Int, attentionHeads: Int,
        keyValueHeads: Int, context: Int
    ) {
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.intermediateSize = intermediateSize
        self.layers = layers
        self.attentionHeads = attentionHeads
        self.keyValueHeads = keyValueHeads
        self.context = context
    }

    /// The model's configuration before it is in a file.
    public func modelConfiguration() throws -> ModelConfiguration {
        try ModelConfiguration(
            vocabularySize: vocabularySize, hiddenSize: hiddenSize, intermediateSize: intermediateSize,
            layerCount: layers, attentionHeadCount: attentionHeads, keyValueHeadCount: keyValueHeads,
            maximumPositions: context, tiedEmbeddings: true, beginOfSequence: nil, endOfSequence: [],
            storedType: .bfloat16)
    }

    /// `config.json` of the model, tied embeddings.
    public func configuration(beginOfSequence: Int?, endOfSequence: Int?) throws -> Data {
        var object: [String: Any] = [
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": vocabularySize,
            "hidden_size": hiddenSize,
            "intermediate_size": intermediateSize,
            "num_hidden_layers": layers,
            "num_attention_heads": attentionHeads,
            "num_key_value_heads": keyValueHeads,
            "hidden_act": "silu",
            "max_position_embeddings": context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "mlp_bias": false,
            "torch_dtype": "bfloat16",
        ]
        object["bos_token_id"] = beginOfSequence
        object["eos_token_id"] = endOfSequence
        return try JSONSerialization.data(withJSONObject: object, options: [.prettyPrinted, .sortedKeys])
    }
}

/// What a pretraining computes, besides its text.
public struct PretrainingConfiguration: Sendable, Hashable, Codable {
    public var shape: PretrainingShape
    public var budget: TrainingBudget
    public var optimizer: OptimizerSettings
    /// Decides the weights at the start, and the order of the data.
    public var seed: UInt64

    public init(shape: PretrainingShape, budget: TrainingBudget, optimizer: OptimizerSettings, seed: UInt64) {
        self.shape = shape
        self.budget = budget
        self.optimizer = optimizer
        self.seed = seed
    }
}

/// Next-token training of a small model from random weights: it makes the teachers that the examples start from.
public struct Pretrainer {
    let model: Transformer
    private let elementType: ElementType

    /// A model with random weights: N(0, 0.02²), projections back into the residual stream divided by √(2 layers)
    /// (Radford et al. 2019), norms 1, biases 0. They are the same on every device.
    public init(
        configuration: ModelConfiguration, elementType: ElementType, seed: UInt64, device: Device = .cpu
    ) throws {
        let generator = try Generator(seed: seed)
        var shapes: [String: [Int]] = [:]
        for linear in configuration.linears { shapes[linear.weightName] = [linear.outputs, linear.inputs] }
        for tensor in configuration.floatTensors { shapes[tensor.name] = tensor.shape }
        let residuals = Set(
            (0..<configuration.layerCount).flatMap { layer in
                [configuration.block(layer).output.weightName, configuration.block(layer).down.weightName]
            })
        let residual = 1 / (2 * Double(configuration.layerCount)).squareRoot()
        let norm = configuration.structure.normalization == .rootMeanSquareFromOne ? 0.0 : 1
        self.elementType = elementType
        model = try Transformer(configuration: configuration, device: device) { name, _ in
            guard let shape = shapes[name] else {
                throw RunError.invalidSetting(name: "tensor", value: name, expected: "one of the model's own")
            }
            if name.hasSuffix(".bias") { return .tensor(try .zeros(shape, device: device)) }
            if shape.count == 1 { return .tensor(try .full(norm, shape: shape, device: device)) }
            let deviation = residuals.contains(name) ? 0.02 * residual : 0.02
            return .tensor(try .randn(shape, device: device, using: generator) * deviation)
        }
    }

    /// The model as it stands.
    public var evaluated: TorchModel { TorchModel(model) }

    /// Number of parameters.
    public var parameterCount: Int { model.parameterCount }

    /// Trains on `tokens` and writes the weights into `directory`, which holds config and tokenizer already.
    ///
    /// - Parameter execution: Of the model's own device.
    /// - Throws: ``TrainingError``; `CancellationError` within a step, with the state after the last whole one saved.
    @discardableResult
    public func run(
        tokens: TrainingCorpus,
        configuration: PretrainingConfiguration,
        execution: Execution = Execution(),
        into directory: URL,
        checkpoints: CheckpointPolicy?,
        monitor: TrainingMonitor? = nil,
        observe: (TrainingEvent) throws -> Void
    ) throws -> [TrainingEvent] {
        let loop = try TrainingLoop(
            model: model, objective: .nextToken, tokens: tokens, budget: configuration.budget,
            optimizer: configuration.optimizer, seed: configuration.seed, settings: configuration,
            execution: execution)
        return try loop.run(policy: checkpoints, monitor: monitor, observe: observe) { model, events in
            try model.write(to: directory, elementType: elementType)
            try writeAtomically(trainingLog(events), to: directory.appending(path: "training_log.jsonl"))
            try monitor?.copy(to: directory)
        }
    }
}
