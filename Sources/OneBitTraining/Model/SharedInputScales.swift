import ModelDescription
import Torch

/// Input scales that layers share (`QuantizationConfiguration.InputScales.shared`), of one block.
///
/// Each layer has a copy of its own. All copies of a vector start equal and get equal gradients, and the optimizer keeps the same
/// state of each, so they stay equal. The gradient that n copies get is their sum over √n: of the vector's gradient, which is the sum,
/// it has the norm when all copies are counted.
struct SharedInputScales: Sendable {
    /// Places of the parameters that are copies of one vector.
    private let copies: [[Int]]
    /// o's, which query heads of a group share.
    private let output: Int
    private let groups: HeadGroups

    /// - Parameter place: Of a parameter, by its name.
    init(_ block: BlockDescription, of configuration: ModelConfiguration, place: (String) -> Int) {
        copies = block.inputGroups.filter { $0.count > 1 }.map { $0.map { place($0.inputScaleName) } }
        output = place(block.output.inputScaleName)
        groups = HeadGroups(configuration)
    }

    /// Gradients of a block's parameters with those of copies made equal.
    func tied(_ gradients: [(parameter: Int, gradient: Tensor)]) throws -> [(parameter: Int, gradient: Tensor)] {
        var found = Dictionary(uniqueKeysWithValues: gradients.map { ($0.parameter, $0.gradient) })
        for places in copies {
            let parts = places.compactMap { found[$0] }
            guard parts.count == places.count else { continue }
            var sum = parts[0]
            for part in parts.dropFirst() { sum = try sum + part }
            sum = try sum * (1 / Double(places.count).squareRoot())
            for place in places { found[place] = sum }
        }
        if groups.headsPerGroup > 1, let gradient = found[output] {
            let heads = groups.headsPerGroup
            let width = gradient.shape[0] / (heads * groups.headSize)
            let grouped = try gradient.reshaped([width, heads, groups.headSize])
            var sum = try grouped.narrowed(1, from: 0, length: 1)
            for head in 1..<heads { sum = try sum + grouped.narrowed(1, from: head, length: 1) }
            sum = try sum * (1 / Double(heads).squareRoot())
            found[output] = try Tensor.concatenated([Tensor](repeating: sum, count: heads), along: 1)
                .reshaped(gradient.shape)
        }
        return gradients.map { ($0.parameter, found[$0.parameter] ?? $0.gradient) }
    }
}

extension Transformer {
    /// The scales that layers of a block share; nil where all have their own.
    func sharedInputScales(ofBlock layer: Int) -> SharedInputScales? {
        guard configuration.quantization?.inputScales == .shared else { return nil }
        let places = blocks[layer].parameters
        return SharedInputScales(configuration.block(layer), of: configuration) { name in
            guard let place = places.first(where: { parameters[$0].name == name }) else {
                preconditionFailure("a block without \(name)")
            }
            return place
        }
    }
}
