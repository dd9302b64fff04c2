import Foundation
import Testing

@testable import Torch

/// The losses with their gradients, against plain loops over numbers in double precision.
@Suite("Losses")
struct LossTests {
    private let rows = 7, width = 5, vocabulary = 11
    private let student: HeadLoss.Head
    private let teacher: HeadLoss.Head
    private let targets = [3, 0, -1, 10, 10, -1, 5]

    init() throws {
        let generator = try Generator(seed: 4)
        func head() throws -> HeadLoss.Head {
            HeadLoss.Head(
                input: try .randn([7, 5], using: generator), weight: try .randn([11, 5], using: generator))
        }
        student = try head()
        teacher = try head()
    }

    /// Logits [rows][vocabulary].
    private func logits(_ head: HeadLoss.Head) throws -> [[Double]] {
        let (x, w) = (try head.input.floats().map(Double.init), try head.weight.floats().map(Double.init))
        return (0..<rows).map { row in
            (0..<vocabulary).map { token in
                (0..<width).reduce(0) { $0 + x[row * width + $1] * w[token * width + $1] }
            }
        }
    }

    private func logSoftmax(_ row: [Double]) -> [Double] {
        let sum = log(row.reduce(0) { $0 + exp($1) })
        return row.map { $0 - sum }
    }

    /// Sums and the gradient by the logits, before they are capped, of a KL(p_t ‖ p_s) − b log p_s[target].
    private func expected(
        _ a: Double, _ b: Double, softCap: Double? = nil
    ) throws -> (divergence: Double, crossEntropy: Double, gradient: [[Double]]) {
        var (divergence, crossEntropy) = (0.0, 0.0)
        let gradient = try zip(logits(student), logits(teacher)).enumerated().map { row, pair in
            func capped(_ logits: [Double]) -> [Double] {
                softCap.map { c in logits.map { c * tanh($0 / c) } } ?? logits
            }
            let (s, t) = (logSoftmax(capped(pair.0)), logSoftmax(capped(pair.1)))
            divergence += zip(s, t).reduce(0) { $0 + exp($1.1) * ($1.1 - $1.0) }
            if targets[row] >= 0 { crossEntropy -= s[targets[row]] }
            return (0..<vocabulary).map { token in
                var value = a * (exp(s[token]) - exp(t[token]))
                if targets[row] >= 0 { value += b * (exp(s[token]) - (token == targets[row] ? 1 : 0)) }
                return value * (softCap.map { 1 - pow(tanh(pair.0[token] / $0), 2) } ?? 1)
            }
        }
        return (divergence, crossEntropy, gradient)
    }

    private func difference(_ found: [Float], _ expected: [Double]) -> Double {
        let largest = expected.map(abs).max() ?? 1
        return zip(found, expected).map { abs(Double($0) - $1) / largest }.max() ?? 0
    }

    @Test(
        "The head's loss and gradients are those of whole logits, whatever the chunk, capped or not",
        arguments: [1, 3, 7, 100], [nil, 2])
    func headLoss(chunk: Int, softCap: Double?) throws {
        let (a, b) = (0.3, 0.7)
        let sum = try TensorBuffer(copying: .full(1, shape: [vocabulary, width]))
        let found = try HeadLoss(divergenceWeight: a, crossEntropyWeight: b, rowsAtATime: chunk, softCap: softCap)(
            student: student, teacher: teacher, targets: .integers(targets, shape: [rows]), addingTo: sum)
        let expected = try expected(a, b, softCap: softCap)
        #expect(difference(try found.sums.floats(), [expected.divergence, expected.crossEntropy]) < 1e-5)
        let (x, w) = (try student.input.floats().map(Double.init), try student.weight.floats().map(Double.init))
        let byInput = (0..<rows * width).map { index in
            (0..<vocabulary).reduce(0) { $0 + expected.gradient[index / width][$1] * w[$1 * width + index % width] }
        }
        let byWeight = (0..<vocabulary * width).map { index in
            (0..<rows).reduce(1) { $0 + expected.gradient[$1][index / width] * x[$1 * width + index % width] }
        }
        #expect(difference(try found.inputGradient.floats(), byInput) < 1e-5)
        #expect(difference(try sum.tensor.floats(), byWeight) < 1e-5)
    }

    @Test("Without targets or without a teacher the other part is left; half precision stays near")
    func parts() throws {
        let tokens = try Tensor.integers(targets, shape: [rows])
        func expectParts(_ a: Double, _ b: Double, _ convert: (Tensor) throws -> Tensor, tolerance: Double) throws {
            func head(_ head: HeadLoss.Head) throws -> HeadLoss.Head {
                HeadLoss.Head(input: try convert(head.input), weight: head.weight)
            }
            let found = try HeadLoss(divergenceWeight: a, crossEntropyWeight: b, rowsAtATime: 2)(
                student: head(student), teacher: a != 0 ? head(teacher) : nil, targets: b != 0 ? tokens : nil,
                addingTo: nil)
            let expected = try expected(a, b)
            let sums = try found.sums.floats().map(Double.init)
            #expect(abs(sums[0] - (a != 0 ? expected.divergence : 0)) < tolerance * expected.divergence)
            #expect(abs(sums[1] - (b != 0 ? expected.crossEntropy : 0)) < tolerance * expected.crossEntropy)
        }
        for (a, b) in [(1.0, 0.0), (0, 1)] {
            try expectParts(a, b, { $0 }, tolerance: 1e-5)
            for dtype in [DType.bfloat16, .float16] {
                try expectParts(a, b, { try $0.converted(to: dtype) }, tolerance: 3e-2)
            }
        }
    }

    @Test("The KL divergence stays finite where half precision would overflow")
    func largeDivergence() throws {
        // 20 nats per token over 8,192 tokens: more than float16 can hold.
        func head(_ logits: [Float]) throws -> HeadLoss.Head {
            HeadLoss.Head(
                input: try .full(1, shape: [8192, 1], dtype: .float16), weight: try .floats(logits, shape: [2, 1]))
        }
        let sums = try HeadLoss(divergenceWeight: 1, crossEntropyWeight: 0, rowsAtATime: 512)(
            student: head([0, 20]), teacher: head([20, 0]), targets: nil, addingTo: nil
        ).sums
        #expect(abs(try sums.floats()[0] / 8192 - 20) < 1e-3)
    }

    @Test(
        "The attention-map loss and its gradients are those of its formula, scores capped or not",
        arguments: [true, false], [nil, 0.8])
    func attentionMaps(hasMask: Bool, softCap: Double?) throws {
        let (batch, heads, keyHeads, length, size) = (2, 4, 2, 5, 3)
        let generator = try Generator(seed: 9)
        func random(_ heads: Int) throws -> Tensor { try .randn([batch, heads, length, size], using: generator) }
        let teacher = QueriesAndKeys(queries: try random(heads), keys: try random(keyHeads))
        let student = QueriesAndKeys(queries: try random(heads), keys: try random(keyHeads))
        let window = hasMask ? 2 : length
        func maps(_ q: [Double], _ k: [Double]) -> [Double] {
            (0..<batch * heads * length).flatMap { row -> [Double] in
                let (b, h, i) = (row / (heads * length), row / length % heads, row % length)
                let key = (b * keyHeads + h / (heads / keyHeads)) * length
                let scores = (0..<length).map { j -> Double in
                    guard j <= i, j > i - window else { return 0 }
                    let dot = (0..<size).reduce(0) { $0 + q[row * size + $1] * k[(key + j) * size + $1] }
                    let score = dot / Double(size).squareRoot()
                    return exp(softCap.map { $0 * tanh(score / $0) } ?? score)
                }
                let sum = scores.reduce(0, +)
                return scores.map { $0 / sum }
            }
        }
        func numbers(_ x: Tensor) throws -> [Double] { try x.floats().map(Double.init) }
        let target = try maps(numbers(teacher.queries), numbers(teacher.keys))
        let (q, k) = (try numbers(student.queries), try numbers(student.keys))
        func loss(_ q: [Double], _ k: [Double]) -> Double {
            zip(maps(q, k), target).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(batch * heads * length)
        }
        let mask = hasMask ? try Tensor.causalMask(length: length, after: 0, window: window) : nil
        let found = try student.mapLoss(fromTeacher: teacher, mask: mask, causal: !hasMask, softCap: softCap, weight: 3)
        #expect(abs(try found.loss.item() - loss(q, k)) < 1e-6)
        func numeric(_ x: [Double], _ loss: ([Double]) -> Double) -> [Double] {
            x.indices.map { index in
                var (above, below) = (x, x)
                above[index] += 1e-4
                below[index] -= 1e-4
                return 3 * (loss(above) - loss(below)) / 2e-4
            }
        }
        #expect(difference(try found.gradient.queries.floats(), numeric(q) { loss($0, k) }) < 1e-4)
        #expect(difference(try found.gradient.keys.floats(), numeric(k) { loss(q, $0) }) < 1e-4)
        let own = try student.mapLoss(
            fromTeacher: student, mask: mask, causal: !hasMask, softCap: softCap, weight: 1)
        #expect(try own.loss.item() == 0)
    }

    @Test("The direction loss has the gradient of its function, times the weight, and is zero for equal states")
    func direction() throws {
        let (t, s) = (try teacher.input.floats().map(Double.init), try student.input.floats().map(Double.init))
        func loss(_ s: [Double]) -> Double {
            (0..<rows).reduce(0) { sum, row in
                let (a, b) = (t[row * width..<(row + 1) * width], s[row * width..<(row + 1) * width])
                func norm(_ x: ArraySlice<Double>) -> Double { x.reduce(0) { $0 + $1 * $1 }.squareRoot() }
                return sum + zip(a, b).reduce(0) { $0 + pow($1.0 / norm(a) - $1.1 / norm(b), 2) }
            } / Double(rows)
        }
        let found = try student.input.directionLoss(fromTeacher: teacher.input, weight: 3)
        #expect(abs(try found.loss.item() - loss(s)) < 1e-6)
        let expected = s.indices.map { index in
            var (above, below) = (s, s)
            above[index] += 1e-4
            below[index] -= 1e-4
            return 3 * (loss(above) - loss(below)) / 2e-4
        }
        #expect(difference(try found.gradient.floats(), expected) < 1e-4)
        #expect(abs(try student.input.directionLoss(fromTeacher: student.input, weight: 1).loss.item()) < 1e-6)
        let half = try student.input.converted(to: .bfloat16).directionLoss(fromTeacher: teacher.input, weight: 3)
        #expect(half.gradient.dtype == .bfloat16)
        #expect(difference(try half.gradient.floats(), expected) < 3e-2)
    }
}
