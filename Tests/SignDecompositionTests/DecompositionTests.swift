import Foundation
import SignDecomposition
import Testing

struct DecompositionTests {
    private func random(_ count: Int, seed: UInt64) -> [Float] {
        var state = seed
        return (0..<count).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(Int64(bitPattern: state) >> 40) / Float(1 << 23)
        }
    }

    private func norm(_ vector: [Float]) -> Double {
        vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    }

    private func product(_ result: SignValueDecomposition) -> [Float] {
        result.outputScale.flatMap { a in result.inputScale.map { a * $0 } }
    }

    @Test("NMF and SVD find one optimum on random matrices, and no change of a vector improves it")
    func commonOptimum() throws {
        for (rows, columns) in [(1, 1), (1, 7), (5, 1), (13, 29), (64, 40)] {
            let weight = random(rows * columns, seed: UInt64(rows * 100 + columns))
            let nmf = try decompose(weight, rows: rows, columns: columns, method: .nmf, seed: 3)
            let svd = try decompose(weight, rows: rows, columns: columns, method: .svd, seed: 0)
            #expect(abs(nmf.residual - svd.residual) <= 1e-5 * norm(weight))
            let difference = norm(zip(product(nmf), product(svd)).map { $0 - $1 })
            #expect(difference <= 1e-3 * norm(product(svd)))
            #expect((nmf.outputScale + nmf.inputScale).allSatisfy { $0 >= 0 })
        }
    }

    @Test("The balanced split has equal norms and the same product; SVD's split is equal too")
    func balanced() throws {
        let weight = random(33 * 20, seed: 9)
        let plain = try decompose(weight, rows: 33, columns: 20, method: .nmf, seed: 1)
        let split = try decompose(weight, rows: 33, columns: 20, method: .nmf, scaleSplit: .balanced, seed: 1)
        #expect(abs(norm(split.outputScale) / norm(split.inputScale) - 1) < 1e-6)
        #expect(norm(zip(product(plain), product(split)).map { $0 - $1 }) < 1e-5 * norm(product(plain)))
        let svd = try decompose(weight, rows: 33, columns: 20, method: .svd, seed: 1)
        #expect(abs(norm(svd.outputScale) / norm(svd.inputScale) - 1) < 1e-6)
    }

    @Test("Copy leaves unit vectors")
    func copy() throws {
        let result = try decompose(
            [1, -2, 3, 4, 5, 6],
            rows: 2,
            columns: 3,
            method: .copy,
            scaleSplit: .balanced,
            seed: 0
        )
        #expect(result.outputScale == [1, 1])
        #expect(result.inputScale == [1, 1, 1])
        #expect(abs(result.residual - 55.0.squareRoot()) < 1e-5)
    }

    @Test("A matrix of rank one is found exactly")
    func rankOne() throws {
        let a: [Float] = [1, 2, 0.5]
        let b: [Float] = [3, 0.25, 1, 4]
        let weight = a.flatMap { a in b.enumerated().map { $0 % 2 == 0 ? a * $1 : -a * $1 } }
        for method in [DecompositionMethod.nmf, .svd] {
            let result = try decompose(weight, rows: 3, columns: 4, method: method, seed: 5)
            #expect(result.residual < 1e-6)
        }
    }

    @Test(
        "Zero rows, zero columns, zero matrices and empty ones give finite vectors",
        arguments: DecompositionMethod.allCases,
        ScaleSplit.allCases
    )
    func zeros(method: DecompositionMethod, split: ScaleSplit) throws {
        let cases: [(weight: [Float], rows: Int, columns: Int)] = [
            ([0, 0, 0, 1, 0, 2], 2, 3), ([0, 0, 0, 0], 2, 2), ([], 0, 3), ([], 3, 0), ([0], 1, 1),
            ([1, 0, 0, 1], 2, 2), ([3e38, 3e38], 1, 2), ([.leastNonzeroMagnitude, 0], 2, 1),
        ]
        for (weight, rows, columns) in cases {
            let result = try decompose(
                weight,
                rows: rows,
                columns: columns,
                method: method,
                scaleSplit: split,
                seed: 0
            )
            #expect((result.outputScale + result.inputScale).allSatisfy { $0.isFinite } && result.residual.isFinite)
            #expect(result.outputScale.count == rows && result.inputScale.count == columns)
        }
    }

    @Test("NaN, infinity and wrong counts are refused")
    func badInput() {
        for value in [Float.nan, .infinity] {
            #expect(throws: DecompositionError.notFinite(row: 1, column: 0)) {
                try decompose([1, 2, value, 4], rows: 2, columns: 2, method: .nmf, seed: 0)
            }
        }
        for (rows, columns) in [(2, 3), (-2, -2), (Int.max, Int.max)] {
            #expect(throws: DecompositionError.self) {
                try decompose([1, 2, 3, 4], rows: rows, columns: columns, method: .nmf, seed: 0)
            }
        }
    }

    @Test("One seed gives the same bits again, also where several threads work")
    func deterministic() throws {
        // Above the threshold from which blocks run side by side.
        let weight = random(1100 * 300, seed: 4)
        let limits = DecompositionLimits(iterations: 2)
        let first = try decompose(weight, rows: 1100, columns: 300, method: .nmf, seed: 7, limits: limits)
        let second = try decompose(weight, rows: 1100, columns: 300, method: .nmf, seed: 7, limits: limits)
        #expect(first.outputScale == second.outputScale && first.inputScale == second.inputScale)
        let other = try decompose(weight, rows: 1100, columns: 300, method: .nmf, seed: 8, limits: limits)
        #expect(first.outputScale != other.outputScale)
    }
}
