import Testing

@testable import Torch

@Suite("Sums of products, symmetric systems, signs column by column")
struct LinearAlgebraTests {
    /// More columns than a panel (256) or a block of columns (128) has.
    private static let columns = 300
    private static let rows = 5

    private struct Problem {
        let gram: Tensor
        let factor: Tensor
        let weight: Tensor
        let cross: Tensor

        init(columns: Int = LinearAlgebraTests.columns, rows: Int = LinearAlgebraTests.rows, seed: UInt64 = 1) throws {
            let generator = try Generator(seed: seed)
            // Inputs that go together, as those of a layer do: fewer of them than columns.
            let x = try Tensor.randn([200, columns], using: generator)
            let mixing = try Tensor.randn([columns, columns], using: generator)
            let sums = try TensorBuffer([columns, columns])
            try sums.addGram(of: x.linear(mixing))
            gram = try sums.tensor.damped(by: 0.01).matrix
            factor = try #require(try gram.upperFactor())
            weight = try Tensor.randn([rows, columns], using: generator)
            cross = try weight.linear(gram)
        }

        func signs() throws -> ColumnSigns {
            let g = try Tensor.full(0.9, shape: [weight.shape[1]])
            let h = try Tensor.full(1.1, shape: [weight.shape[0]])
            return try ColumnSigns(
                weight: weight, gram: gram, factor: factor, cross: cross, inputScale: g, outputScale: h)
        }

        /// tr(Ŵ A Ŵᵀ) − 2 tr(Ŵ Cᵀ)
        func error(of signs: ColumnSigns) throws -> Double {
            let g = try signs.inputScale.floats()
            let h = try signs.outputScale.floats()
            let targets = try signs.targets.floats()
            let dense = try Tensor.floats(
                targets.indices.map { index in
                    let size = h[index / g.count] * g[index % g.count]
                    return targets[index] >= 0 ? size : -size
                }, shape: [h.count, g.count])
            return try (dense.linear(gram) * dense).sum().item() - 2 * (dense * cross).sum().item()
        }
    }

    private static func expectClose(
        _ found: [Float], _ expected: [Double], within tolerance: Double,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let size = expected.map(abs).max() ?? 0
        let difference = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? 0
        #expect(
            found.count == expected.count && difference <= tolerance * size, "\(difference) of \(size)",
            sourceLocation: sourceLocation)
    }

    @Test("A Gram matrix is xᵀx, whose lower triangle is summed, with a share of its mean diagonal added")
    func gram() throws {
        let x = try Tensor.randn([7, Self.columns], using: Generator(seed: 3))
        let sums = try TensorBuffer([Self.columns, Self.columns])
        try sums.addGram(of: x.narrowed(0, from: 0, length: 4))
        try sums.addGram(of: x.narrowed(0, from: 4, length: 3).reshaped([1, 3, Self.columns]))
        let (matrix, added) = try sums.tensor.damped(by: 0.5)
        let values = try x.floats().map(Double.init)
        var expected = [Double](repeating: 0, count: Self.columns * Self.columns)
        for i in 0..<Self.columns {
            for j in 0..<Self.columns {
                for row in 0..<7 {
                    expected[i * Self.columns + j] += values[row * Self.columns + i] * values[row * Self.columns + j]
                }
            }
        }
        let mean = (0..<Self.columns).reduce(0.0) { $0 + expected[$1 * Self.columns + $1] } / Double(Self.columns)
        #expect(abs(added - 0.5 * mean) < 1e-4 * mean)
        for i in 0..<Self.columns { expected[i * Self.columns + i] += added }
        Self.expectClose(try matrix.floats(), expected, within: 1e-5)
    }

    @Test("Inputs that are all zero leave a matrix that can be factored")
    func nothing() throws {
        let (matrix, added) = try TensorBuffer([3, 3]).tensor.damped(by: 0.01)
        #expect(added == 1)
        #expect(try matrix.upperFactor()?.floats() == [1, 0, 0, 0, 1, 0, 0, 0, 1])
    }

    @Test("The factor is upper triangular, its square the matrix; equations are solved with it")
    func factor() throws {
        let problem = try Problem()
        let factor = try problem.factor.floats()
        for row in 1..<Self.columns {
            #expect(factor[row * Self.columns..<row * Self.columns + row].allSatisfy { $0 == 0 })
        }
        Self.expectClose(
            try problem.factor.linear(problem.factor).floats(), try problem.gram.floats().map(Double.init), within: 1e-5
        )
        Self.expectClose(
            try problem.cross.solvingRows(factor: problem.factor).floats(),
            try problem.weight.floats().map(Double.init), within: 2e-3)
    }

    @Test("A matrix that is not positive definite has no factor")
    func indefinite() throws {
        #expect(try Tensor.floats([1, 2, 2, 1], shape: [2, 2]).upperFactor() == nil)
    }

    /// Optimal brain quantization as its paper has it (Frantar et al. 2022): after each column, the others move by
    /// −e_j [A⁻¹]_j / [A⁻¹]_jj, and the column leaves the inverse.
    @Test("The first pass chooses what column-by-column quantization with the inverse chooses")
    func columnByColumn() throws {
        let problem = try Problem(columns: 150)
        let count = 150
        var inverse = Self.inverse(try problem.gram.floats().map(Double.init), count)
        var expected: [Double] = []
        var weights = try problem.weight.floats().map(Double.init)
        var targets = [Double](repeating: 0, count: weights.count)
        for j in 0..<count {
            for row in 0..<Self.rows {
                let target = weights[row * count + j]
                targets[row * count + j] = target
                let error = (target - (target >= 0 ? 0.99 : -0.99)) / inverse[j * count + j]
                for k in j..<count { weights[row * count + k] -= error * inverse[j * count + k] }
            }
            let pivot = inverse[j * count + j]
            let line = Array(inverse[j * count..<(j + 1) * count])
            for i in j..<count { for k in j..<count { inverse[i * count + k] -= line[i] * line[k] / pivot } }
        }
        expected = targets
        Self.expectClose(try problem.signs().targets.floats(), expected, within: 5e-3)
    }

    @Test("Fitting h, and choosing signs again, never makes the error larger")
    func descent() throws {
        let problem = try Problem(seed: 5)
        var signs = try problem.signs()
        var error = try problem.error(of: signs)
        for round in 0..<4 {
            let explained = try signs.fitOutputScale()
            let fitted = try problem.error(of: signs)
            #expect(fitted <= error + 1e-4 * abs(error), "round \(round)")
            #expect(abs(fitted + explained) < 1e-3 * explained)
            try signs.descend()
            error = try problem.error(of: signs)
            #expect(error <= fitted + 1e-4 * abs(fitted), "round \(round)")
        }
    }

    /// By Gauss and Jordan.
    private static func inverse(_ matrix: [Double], _ count: Int) -> [Double] {
        var (a, inverse) = (matrix, [Double](repeating: 0, count: count * count))
        for i in 0..<count { inverse[i * count + i] = 1 }
        for i in 0..<count {
            let pivot = a[i * count + i]
            for k in 0..<count {
                a[i * count + k] /= pivot
                inverse[i * count + k] /= pivot
            }
            for row in 0..<count where row != i {
                let factor = a[row * count + i]
                for k in 0..<count {
                    a[row * count + k] -= factor * a[i * count + k]
                    inverse[row * count + k] -= factor * inverse[i * count + k]
                }
            }
        }
        return inverse
    }
}
