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

    /// Rows that are shared out over the ranks: of a vector, its elements.
    var rows: Int { shape[0] }
    /// Elements of a row.
    var columns: Int { shape.dropFirst().reduce(1, *) }
    var elementCount: Int { rows * columns }
    var isMatrix: Bool { shape.count > 1 }
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

/// Which rows of parameters belong to which rank: ⌈rows / size⌉ to each, fewer or none to the last ones (ZeRO, Rajbhandari et
/// al. 2020, by whole rows).
struct RowPartition: Sendable {
    let rank: Int
    let size: Int

    func rowsPerRank(_ parameter: TrainedParameter) -> Int { (parameter.rows + size - 1) / size }

    /// The rows of a rank, this one unless another is given.
    func rows(_ parameter: TrainedParameter, of rank: Int? = nil) -> Range<Int> {
        let share = rowsPerRank(parameter)
        let first = min((rank ?? self.rank) * share, parameter.rows)
        return first..<min(first + share, parameter.rows)
    }
}
