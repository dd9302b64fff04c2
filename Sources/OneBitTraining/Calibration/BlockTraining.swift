import ModelDescription
import SignDecomposition
import Torch

/// Trains the one-bit layers of one block so that, on what the student gives it, the block gives what the teacher's gives.
///
/// The loss is Σ ‖s − t‖² / Σ ‖t‖² over a step's tokens at the block's output, as in BRECQ (Li et al. 2021): the blocks behind
/// read lengths as well as directions. The gradient passes through the signs where |w| < 1. Norms and biases stay as they are.
struct BlockTraining {
    let description: BlockDescription
    let configuration: ModelConfiguration
    let settings: CalibrationSettings
    let positions: TokenPositions
    /// Decides the order of the sequences.
    let seed: UInt64
    /// Which layers have an input scale of their own.
    let inputScales: QuantizationConfiguration.InputScales

    /// Tokens of one step.
    static func stepTokens(sequenceLength: Int) -> Int { max(1, 2048 / sequenceLength) * sequenceLength }

    /// - Parameters:
    ///   - layers: As fitted, in the order of the block's linears.
    ///   - block: With these layers.
    ///   - inputs: What the student gives the block [sequences, T, C].
    ///   - targets: What leaves the teacher's block.
    /// - Returns: The layers as trained, and the block with them.
    /// - Throws: ``TrainingError/notFinite(step:quantity:)``, `CancellationError`.
    func run(
        _ layers: [CalibratedLayer], of block: TransformerBlock, inputs: TensorBuffer, targets: TensorBuffer
    ) throws -> (layers: [CalibratedLayer], block: TransformerBlock) {
        // W, g and h of each layer, in this order.
        let parameters = description.linears.enumerated().flatMap { index, linear in
            [
                TrainedParameter(
                    name: linear.weightName, shape: [linear.outputs, linear.inputs], group: .latent, isDecayed: true,
                    scales: (3 * index + 1, 3 * index + 2)),
                TrainedParameter(
                    name: linear.inputScaleName, shape: [linear.inputs], group: .scales, isDecayed: false),
                TrainedParameter(
                    name: linear.outputScaleName, shape: [linear.outputs], group: .scales, isDecayed: false),
            ]
        }
        let initial = layers.flatMap { [$0.latent, $0.inputScale, $0.outputScale] }
        var next = 0
        let optimizer = try ShardedOptimizer(
            parameters,
            settings: OptimizerSettings(
                learningRates: LearningRates(
                    latent: settings.blockLearningRate, scales: settings.blockLearningRate, embedding: 0, norm: 0)),
            signGradient: .hard, seed: seed
        ) { parameter, _ in
            defer { next += 1 }
            return try .floats(initial[next], shape: parameter.shape)
        }
        let shared =
            inputScales == .own
            ? nil
            : SharedInputScales(description, of: configuration) { name in
                parameters.firstIndex { $0.name == name } ?? 0
            }
        let schedule = optimizer.settings.schedule(steps: settings.blockSteps)
        let order = try order(of: inputs.shape[0])
        let batch = Self.stepTokens(sequenceLength: settings.sequenceLength) / settings.sequenceLength
        for step in 1...settings.blockSteps {
            try checkCancellation()
            let chosen = try Tensor.integers(
                (0..<batch).map { order[((step - 1) * batch + $0) % order.count] }, shape: [batch])
            func sequences(_ buffer: TensorBuffer) throws -> Tensor {
                try buffer.tensor.selecting(chosen, along: 0).converted(to: .float32)
            }
            let (student, leaves) = try recorded(block, optimizer.values)
            let output = try student(sequences(inputs), at: positions)
            let target = try sequences(targets)
            let upstream = try (output.detached() - target) * (2 / max(target.squareSum(), .leastNormalMagnitude))
            let gradients = try output.gradients(by: leaves, upstream: upstream)
            let found = gradients.enumerated().compactMap { index, gradient in
                gradient.map { (parameter: index, gradient: $0) }
            }
            try optimizer.add(shared?.tied(found) ?? found)
            let made = try optimizer.step(step, factor: schedule.factor(at: step)) {
                try optimizer.values[$0].numbers()
            }
            guard made.gradientNorm.isFinite else {
                throw TrainingError.notFinite(step: step, quantity: "the gradient of block \(description.layer)")
            }
        }
        var trained = layers
        for index in trained.indices {
            trained[index].latent = try optimizer.wholeValue(3 * index).floats()
            trained[index].inputScale = try optimizer.wholeValue(3 * index + 1).floats()
            trained[index].outputScale = try optimizer.wholeValue(3 * index + 2).floats()
        }
        return (trained, try replacingLayers(of: block) { try trained[$0].linear(bias: $1, device: .cpu) })
    }

    private func order(of count: Int) throws -> [Int] {
        var generator = SplitMix64(seed: seed &+ UInt64(description.layer))
        return (0..<count).shuffled(using: &generator)
    }

    /// The block with leaves of the backward pass in place of W, g and h: the leaves in the order of the parameters.
    private func recorded(
        _ block: TransformerBlock, _ values: [ParameterValue]
    ) throws -> (block: TransformerBlock, leaves: [Tensor]) {
        var leaves: [Tensor] = []
        let block = try replacingLayers(of: block) { index, bias in
            let signs = try values[3 * index].signs
            let product = try Tensor.gradientCarrier(shape: [signs.rows, signs.columns])
            let inputScale = try values[3 * index + 1].numbers().requiringGradient()
            let outputScale = try values[3 * index + 2].numbers().requiringGradient()
            leaves += [product, inputScale, outputScale]
            return .oneBit(
                signs: signs, product: product, inputScale: inputScale, outputScale: outputScale, bias: bias,
                settings: OneBitSettings(layerNormEpsilon: nil))
        }
        return (block, leaves)
    }

    /// The block with other layers, which `layer` makes of their number among the block's linears and of their bias.
    private func replacingLayers(
        of block: TransformerBlock, _ layer: (Int, Tensor?) throws -> LinearLayer
    ) rethrows -> TransformerBlock {
        var block = block
        var index = 0
        func replace(_ place: inout LinearLayer) throws {
            place = try layer(index, place.bias)
            index += 1
        }
        try replace(&block.attention.query)
        try replace(&block.attention.key)
        try replace(&block.attention.value)
        try replace(&block.attention.output)
        if var gate = block.mlp.gate {
            try replace(&gate)
            block.mlp.gate = gate
        }
        try replace(&block.mlp.up)
        try replace(&block.mlp.down)
        return block
    }
}

extension LinearLayer {
    fileprivate var bias: Tensor? {
        switch self {
        case .dense(_, let bias): bias
        case .oneBit(_, _, _, _, let bias, _): bias
        }
    }
}
