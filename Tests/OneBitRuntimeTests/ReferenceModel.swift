import Foundation
import ModelFiles

/// The forward pass of a packed LLaMA written down plainly, in double precision, a whole sequence at a time, with the
/// formulas of the paper and nothing quantised: what the runtime is held against.
struct ReferenceModel {
    typealias Matrix = [[Double]]

    let configuration: ModelConfiguration
    private let values: [String: [Float]]

    init(_ tiny: TinyPackedModel) {
        configuration = tiny.configuration
        values = tiny.values
    }

    /// Logits of every position, row-major.
    func logits(of tokens: [Int]) -> [Double] {
        let embedding = matrix("model.embed_tokens.weight", columns: configuration.hiddenSize)
        var x = tokens.map { embedding[$0] }
        for layer in 0..<configuration.layerCount {
            let linears = configuration.blockLinears(layer: layer)
            let block = "model.layers.\(layer)."
            let a = rmsNorm(x, block + "input_layernorm.weight")
            let attended = attention(
                queries: linear(a, linears[0]), keys: linear(a, linears[1]), values: linear(a, linears[2]))
            x = sum(x, linear(attended, linears[3]))
            let b = rmsNorm(x, block + "post_attention_layernorm.weight")
            let gated = zip(linear(b, linears[4]), linear(b, linears[5])).map { gate, up in
                zip(gate, up).map { $0 / (1 + exp(-$0)) * $1 }
            }
            x = sum(x, linear(gated, linears[6]))
        }
        let head =
            configuration.tiedEmbeddings
            ? embedding : matrix("lm_head.weight", columns: configuration.hiddenSize)
        return rmsNorm(x, "model.norm.weight").flatMap { row in head.map { dot($0, row) } }
    }

    /// Z = LayerNorm(((x ⊙ g) Sᵀ) ⊙ h)
    private func linear(_ x: Matrix, _ linear: LinearDescription) -> Matrix {
        let signs = matrix(linear.weightName, columns: linear.inputs)
        let g = vector(linear.inputScaleName)
        let h = vector(linear.outputScaleName)
        return x.map { row in
            let scaled = zip(row, g).map { $0 * $1 }
            let y = zip(signs, h).map { dot($0, scaled) * $1 }
            guard let quantization = configuration.quantization, quantization.postLayerNorm else { return y }
            let mean = y.reduce(0, +) / Double(y.count)
            let variance = y.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(y.count)
            return y.map { ($0 - mean) / (variance + Double(quantization.layerNormEpsilon)).squareRoot() }
        }
    }

    private func attention(queries: Matrix, keys: Matrix, values: Matrix) -> Matrix {
        let size = configuration.headSize
        let group = configuration.attentionHeadCount / configuration.keyValueHeadCount
        return queries.indices.map { t in
            (0..<configuration.attentionHeadCount).flatMap { head -> [Double] in
                let q = rotated(part(queries[t], head), position: t)
                let scores = (0...t).map { p in
                    dot(q, rotated(part(keys[p], head / group), position: p)) / Double(size).squareRoot()
                }
                let weights = scores.map { exp($0 - scores.max()!) }
                let total = weights.reduce(0, +)
                return (0..<size).map { i in
                    (0...t).reduce(0.0) { $0 + weights[$1] / total * part(values[$1], head / group)[i] }
                }
            }
        }
    }

    private func part(_ row: [Double], _ head: Int) -> [Double] {
        Array(row[head * configuration.headSize..<(head + 1) * configuration.headSize])
    }

    private func rotated(_ x: [Double], position: Int) -> [Double] {
        let half = x.count / 2
        var y = x
        for i in 0..<half {
            let angle = Double(position) * pow(Double(configuration.ropeTheta), -Double(2 * i) / Double(x.count))
            y[i] = x[i] * cos(angle) - x[i + half] * sin(angle)
            y[i + half] = x[i + half] * cos(angle) + x[i] * sin(angle)
        }
        return y
    }

    private func rmsNorm(_ x: Matrix, _ name: String) -> Matrix {
        let w = vector(name)
        return x.map { row in
            let scale = 1 / (dot(row, row) / Double(row.count) + Double(configuration.normEpsilon)).squareRoot()
            return zip(row, w).map { $0 * scale * $1 }
        }
    }

    private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    private func sum(_ a: Matrix, _ b: Matrix) -> Matrix { zip(a, b).map { zip($0, $1).map(+) } }

    private func vector(_ name: String) -> [Double] { values[name]!.map { Double($0) } }

    private func matrix(_ name: String, columns: Int) -> Matrix {
        let all = vector(name)
        return stride(from: 0, to: all.count, by: columns).map { Array(all[$0..<$0 + columns]) }
    }
}

/// Largest difference, relative to the largest magnitude expected.
func relativeError(_ found: [Float], _ expected: [Double]) -> Double {
    guard found.count == expected.count else { return .infinity }
    let scale = expected.map(\.magnitude).max() ?? 1
    return zip(found, expected).map { abs(Double($0) - $1) }.max()! / scale
}
