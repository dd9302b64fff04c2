import Torch

/// One trained parameter as the optimizer knows it.
struct TrainedParameter: Sendable {
    let name: String
    let shape: [Int]
    let group: ParameterGroup
    let isDecayed: Bool
    /// Of a latent matrix: places of its value vectors g and h among the model's parameters.
    let scales: (input: Int, output: Int)?

    init(name: String, shape: [Int], group: ParameterGroup, isDecayed: Bool, scales: (input: Int, output: Int)? = nil) {
        self.name = name
        self.shape = shape
        self.group = group
        self.isDecayed = isDecayed
        self.scales = scales
    }
}

extension Transformer {
    /// Places of the parameters whose group has a learning rate above zero, and what the optimizer knows of them.
    func trainedParameters(_ rates: LearningRates) -> [(place: Int, parameter: TrainedParameter)] {
        parameters.indices.filter { rates[parameters[$0].group] > 0 }.map { place in
            let parameter = parameters[place]
            return (
                place,
                TrainedParameter(
                    name: parameter.name, shape: parameter.shape, group: parameter.group,
                    isDecayed: parameter.isDecayed,
                    // A OneBit layer's parameters are W, g, h in this order.
                    scales: parameter.group == .latent ? (place + 1, place + 2) : nil)
            )
        }
    }
}

/// What a step of the optimizer did.
struct OptimizerStep: Sendable {
    /// Joint 2-norm of the gradients before clipping. Where it is not finite, nothing was moved.
    var gradientNorm: Double
    /// Signs of latent matrices that are not what they were.
    var turnedSigns: Int
    /// Weights of latent matrices.
    var latentCount: Int
}

/// Owns the values, gradients and AdamW moments of what is trained. Passes get the signs of latent matrices and the values
/// of the other parameters; W, its moments and sign′(W) are touched once a step.
final class ShardedOptimizer {
    let parameters: [TrainedParameter]
    let settings: OptimizerSettings
    private let signGradient: SignGradient
    private(set) var states: [State]
    private(set) var values: [ParameterValue]

    struct State {
        let value: TensorBuffer
        let firstMoment: TensorBuffer
        let secondMoment: TensorBuffer
        /// The sum of this step's gradients; of a latent matrix, of P.
        fileprivate let gradient: TensorBuffer
        fileprivate var hasGradient = false
    }

    /// - Parameters:
    ///   - parameters: What is trained.
    ///   - settings: AdamW's.
    ///   - signGradient: sign′.
    ///   - initial: Gives values of some rows of a parameter as float32.
    init(
        _ parameters: [TrainedParameter], settings: OptimizerSettings, signGradient: SignGradient,
        initial: (_ parameter: TrainedParameter, _ rows: Range<Int>) throws -> Tensor
    ) throws {
        self.parameters = parameters
        self.settings = settings
        self.signGradient = signGradient
        states = []
        values = []
        for parameter in parameters {
            let value = try TensorBuffer(copying: initial(parameter, 0..<parameter.shape[0]))
            func zeros() throws -> TensorBuffer { try .zeros(parameter.shape, device: value.tensor.device) }
            states.append(
                State(value: value, firstMoment: try zeros(), secondMoment: try zeros(), gradient: try zeros()))
            values.append(try Self.value(of: value, parameter))
        }
    }

    private static func value(of buffer: TensorBuffer, _ parameter: TrainedParameter) throws -> ParameterValue {
        parameter.group == .latent ? .signs(try SignMatrix(signsOf: buffer.tensor)) : .tensor(buffer.tensor)
    }

    /// Forgets gradients that were added since the last step.
    func discardGradients() {
        for index in states.indices { states[index].hasGradient = false }
    }

    /// Adds one micro-batch's gradients of some parameters; of latent matrices, P.
    func add(_ gradients: [(parameter: Int, gradient: Tensor)]) throws {
        for (index, gradient) in gradients {
            if states[index].hasGradient {
                try states[index].gradient.add(gradient)
            } else {
                try states[index].gradient.write(gradient)
                states[index].hasGradient = true
            }
        }
    }

    /// Makes gradients of what was added, clips them to a joint norm, and moves the parameters that have one.
    ///
    /// - Parameters:
    ///   - number: Steps made so far, this one included.
    ///   - factor: The schedule's share of the peak learning rates.
    ///   - gradientScale: What the gradients were multiplied by.
    ///   - scales: Gives the value of a parameter of the model, by its place, as it is before the step.
    func step(
        _ number: Int, factor: Double, gradientScale: Double = 1, scales: (Int) throws -> Tensor
    ) throws -> OptimizerStep {
        defer { discardGradients() }
        let moved = states.indices.filter { states[$0].hasGradient }
        for index in moved {
            guard let (input, output) = parameters[index].scales else { continue }
            try checkCancellation()
            try states[index].gradient.formLatentGradient(
                of: states[index].value.tensor, inputScale: scales(input), outputScale: scales(output),
                signGradient: signGradient)
        }
        let norm = try Tensor.jointNorm(moved.map { states[$0].gradient.tensor }) / gradientScale
        var result = OptimizerStep(gradientNorm: norm, turnedSigns: 0, latentCount: 0)
        guard norm.isFinite else { return result }
        let clip = norm > settings.gradientClip ? settings.gradientClip / norm : 1
        // From here on the step is made whole: a cancellation waits.
        for index in moved {
            let (parameter, state) = (parameters[index], states[index])
            try state.value.stepAdamW(
                gradient: state.gradient, firstMoment: state.firstMoment, secondMoment: state.secondMoment,
                gradientFactor: clip / gradientScale, step: number,
                learningRate: settings.learningRates[parameter.group] * factor, beta1: settings.beta1,
                beta2: settings.beta2, epsilon: settings.epsilon,
                weightDecay: parameter.isDecayed ? settings.weightDecay : 0)
            guard case .signs(let before) = values[index] else { continue }
            let after = try SignMatrix(signsOf: state.value.tensor)
            result.turnedSigns += try after.turned(from: before)
            result.latentCount += after.rows * after.columns
            values[index] = .signs(after)
        }
        return result
    }

    /// The value of a parameter, float32, for writing it.
    func wholeValue(_ index: Int) throws -> Tensor { states[index].value.tensor }

    /// Puts a saved state in place of what is there.
    func restore(_ index: Int, value: Tensor, firstMoment: Tensor, secondMoment: Tensor) throws {
        try states[index].value.write(value)
        try states[index].firstMoment.write(firstMoment)
        try states[index].secondMoment.write(secondMoment)
        values[index] = try Self.value(of: states[index].value, parameters[index])
    }
}
