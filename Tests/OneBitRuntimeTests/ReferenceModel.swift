import Foundation
import ModelDescription
import TensorFiles

/// The forward pass of a packed or dense model written down plainly, in double precision, a whole sequence at a time, with the
/// formulas of the papers and nothing quantized: the reference for the runtime.
struct ReferenceModel {
    typealias Matrix = [[Double]]

    let configuration: ModelConfiguration
    private let values: [String: [Float]]
    /// Whether keys and values are rounded to halves, as the runtime's cache keeps them.
    private let roundsKeysAndValues: Bool

    init(_ tiny: TinyPackedModel, roundsKeysAndValues: Bool = false) {
        configuration = tiny.configuration
        values = tiny.values
        self.roundsKeysAndValues = roundsKeysAndValues
    }

    init(_ tiny: TinyDenseModel, roundsKeysAndValues: Bool = false) {
        configuration = tiny.configuration
        values = tiny.values
        self.roundsKeysAndValues = roundsKeysAndValues
    }

    /// Logits of every position, row-major.
    func logits(of tokens: [Int]) -> [Double] {
        let structure = configuration.structure
        let embedding = matrix(configuration.embedding)
        var x = tokens.map { embedding[$0] }
        if let projection = configuration.inputProjection { x = product(x, matrix(projection)) }
        x = scaled(x, structure.embeddingMultiplier)
        if case .learned(let offset) = structure.positions, let table = configuration.positionEmbedding {
            let rows = matrix(table)
            x = x.indices.map { zip(x[$0], rows[$0 + offset]).map(+) }
        }
        for layer in 0..<configuration.layerCount {
            let block = configuration.block(layer)
            x = sublayer(x, block.attentionNorm, block.attentionOutputNorm) { attention($0, block) }
            x = sublayer(x, block.mlpNorm, block.mlpOutputNorm) { mlp($0, block) }
        }
        if let norm = configuration.finalNorm { x = normalized(x, norm) }
        x = scaled(x, structure.logitMultiplier)
        if let projection = configuration.outputProjection { x = product(x, matrix(projection)) }
        return product(x, matrix(configuration.head)).flatMap(\.self).map { capped($0, structure.logitSoftCap) }
    }

    private func sublayer(
        _ x: Matrix, _ norm: NormDescription, _ outputNorm: NormDescription?, _ body: (Matrix) -> Matrix
    ) -> Matrix {
        let multiplier = configuration.structure.residualMultiplier
        return switch configuration.structure.normPlacement {
        case .beforeSublayers: sum(x, scaled(body(normalized(x, norm)), multiplier))
        case .afterSublayers: normalized(sum(x, scaled(body(x), multiplier)), norm)
        case .onSublayerOutputs: sum(x, scaled(normalized(body(x), norm), multiplier))
        case .aroundSublayers: sum(x, scaled(normalized(body(normalized(x, norm)), outputNorm!), multiplier))
        }
    }

    /// c tanh(x / c)
    private func capped(_ x: Double, _ cap: Float?) -> Double { cap.map { Double($0) * tanh(x / Double($0)) } ?? x }

    private func scaled(_ x: Matrix, _ factor: Float) -> Matrix { x.map { $0.map { $0 * Double(factor) } } }

    private func mlp(_ x: Matrix, _ block: BlockDescription) -> Matrix {
        let up = linear(x, block.up)
        guard let gate = block.gate else { return linear(up.map { $0.map { max($0, 0) } }, block.down) }
        func activation(_ x: Double) -> Double {
            guard configuration.structure.mlp == .gatedGELU else { return x / (1 + exp(-x)) }
            return 0.5 * x * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        }
        let gated = zip(linear(x, gate), up).map { gate, up in zip(gate, up).map { activation($0) * $1 } }
        return linear(gated, block.down)
    }

    /// Z = LayerNorm(((x ⊙ g) Sᵀ) ⊙ h) + b, or x Wᵀ + b of a dense model.
    private func linear(_ x: Matrix, _ linear: LinearDescription) -> Matrix {
        let signs = matrix(TensorShape(name: linear.weightName, shape: [linear.outputs, linear.inputs]))
        if configuration.quantization == nil {
            let y = product(x, signs)
            return linear.bias.map { bias in y.map { zip($0, vector(bias.name)).map(+) } } ?? y
        }
        let g = vector(linear.inputScaleName)
        let h = vector(linear.outputScaleName)
        let b = linear.bias.map { vector($0.name) } ?? [Double](repeating: 0, count: linear.outputs)
        return x.map { row in
            let scaled = zip(row, g).map { $0 * $1 }
            var y = zip(signs, h).map { dot($0, scaled) * $1 }
            if let quantization = configuration.quantization, quantization.postLayerNorm {
                y = centered(y, epsilon: quantization.layerNormEpsilon)
            }
            return zip(y, b).map(+)
        }
    }

    private func attention(_ x: Matrix, _ block: BlockDescription) -> Matrix {
        let size = configuration.headSize
        let group = configuration.attentionHeadCount / configuration.keyValueHeadCount
        let scale = configuration.structure.attentionScale.map(Double.init) ?? 1 / Double(size).squareRoot()
        let queries = normalizedWhole(linear(x, block.query), block.queryNorm)
        let projectedKeys = normalizedWhole(linear(x, block.key), block.keyNorm)
        let keys = cached(
            projectedKeys.enumerated().map { position, row in
                (0..<configuration.keyValueHeadCount).flatMap {
                    normalizedAndRotated(part(row, $0), block.keyNorm, block, position: position)
                }
            })
        let values = cached(linear(x, block.value))
        let attended = queries.indices.map { t in
            (0..<configuration.attentionHeadCount).flatMap { head -> [Double] in
                let q = normalizedAndRotated(part(queries[t], head), block.queryNorm, block, position: t)
                let first = max(0, t + 1 - (block.slidingWindow ?? t + 1))
                let scores = (first...t).map { p in
                    dot(q, part(keys[p], head / group)) * scale
                }.map { capped($0, configuration.structure.attentionSoftCap) }
                let weights = scores.map { exp($0 - scores.max()!) }
                let total = weights.reduce(0, +)
                return (0..<size).map { i in
                    (first...t).reduce(0.0) {
                        $0 + weights[$1 - first] / total * part(values[$1], head / group)[i]
                    }
                }
            }
        }
        return linear(attended, block.output)
    }

    private func cached(_ x: Matrix) -> Matrix {
        roundsKeysAndValues ? x.map { $0.map { Double(Float16($0)) } } : x
    }

    private func part(_ row: [Double], _ head: Int) -> [Double] {
        Array(row[head * configuration.headSize..<(head + 1) * configuration.headSize])
    }

    /// All heads of queries or keys normalized together, where the family does so.
    private func normalizedWhole(_ x: Matrix, _ norm: NormDescription?) -> Matrix {
        guard let norm, configuration.structure.queryKeyNorm == .vectors else { return x }
        return normalized(x, norm)
    }

    private func normalizedAndRotated(
        _ head: [Double], _ norm: NormDescription?, _ block: BlockDescription, position: Int
    ) -> [Double] {
        let isNormalized = configuration.structure.queryKeyNorm == .heads
        let x = norm.flatMap { isNormalized ? normalized([head], $0)[0] : nil } ?? head
        guard let rotation = block.rotation else { return x }
        let rotary = configuration.structure.rotations[rotation]
        let frequencies = rotary.frequencies(headSize: x.count, sequenceLength: 0)
        let factor = Double(rotary.attentionFactor)
        let half = frequencies.count
        var y = x
        for i in 0..<half {
            let angle = Double(position) * Double(frequencies[i])
            y[i] = (x[i] * cos(angle) - x[i + half] * sin(angle)) * factor
            y[i + half] = (x[i + half] * cos(angle) + x[i] * sin(angle)) * factor
        }
        return y
    }

    private func normalized(_ x: Matrix, _ norm: NormDescription) -> Matrix {
        let w = vector(norm.weight.name).map { norm.countsFromOne ? 1 + $0 : $0 }
        return x.map { row in
            if let bias = norm.bias {
                let y = centered(row, epsilon: configuration.normEpsilon)
                return zip(zip(y, w).map { $0 * $1 }, vector(bias.name)).map(+)
            }
            let scale = 1 / (dot(row, row) / Double(row.count) + Double(configuration.normEpsilon)).squareRoot()
            return zip(row, w).map { $0 * scale * $1 }
        }
    }

    /// (x − mean x) / √(var x + ε)
    private func centered(_ x: [Double], epsilon: Float) -> [Double] {
        let mean = x.reduce(0, +) / Double(x.count)
        let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
        return x.map { ($0 - mean) / (variance + Double(epsilon)).squareRoot() }
    }

    private func product(_ x: Matrix, _ w: Matrix) -> Matrix { x.map { row in w.map { dot($0, row) } } }

    private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    private func sum(_ a: Matrix, _ b: Matrix) -> Matrix { zip(a, b).map { zip($0, $1).map(+) } }

    private func vector(_ name: String) -> [Double] { values[name]!.map { Double($0) } }

    private func matrix(_ tensor: TensorShape) -> Matrix {
        let all = vector(tensor.name)
        let columns = tensor.shape[1]
        return stride(from: 0, to: all.count, by: columns).map { Array(all[$0..<$0 + columns]) }
    }
}

/// Largest difference, relative to the largest magnitude expected.
func relativeError(_ found: [Float], _ expected: [Double]) -> Double {
    guard found.count == expected.count else { return .infinity }
    let scale = expected.map(\.magnitude).max() ?? 1
    return zip(found, expected).map { abs(Double($0) - $1) }.max()! / scale
}
