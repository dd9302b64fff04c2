import ModelDescription
import Testing
import Torch

@testable import OneBitTraining

@Suite("Rotary tables")
struct RotaryTableTests {
    @Test("A rotation keeps lengths and depends on relative positions only")
    func rotary() throws {
        let table = RotaryTable(RotaryPositions(base: 10_000), headSize: 8)
        func rotated(_ x: [Float], at position: Int) throws -> [Float] {
            let row = try table.rows(from: position, length: 1, sequenceLength: position + 1)
            return try Tensor.floats(x, shape: [1, 1, 1, 8]).rotary(cosines: row.cosines, sines: row.sines).floats()
        }
        let generator = try Generator(seed: 11)
        let q = try Tensor.randn([8], using: generator).floats()
        let k = try Tensor.randn([8], using: generator).floats()
        func dot(_ a: [Float], _ b: [Float]) -> Float { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        let near = dot(try rotated(q, at: 3), try rotated(k, at: 1))
        let far = dot(try rotated(q, at: 15), try rotated(k, at: 13))
        #expect(abs(near - far) < 1e-4)
        // The same rows, asked for by their positions.
        let gathered = try table.rows(of: [3, 1, 15, 9], batch: 2)
        #expect(gathered.cosines.shape == [2, 2, 4])
        #expect(
            try Array(gathered.sines.floats()[8..<12])
                == table.rows(from: 15, length: 1, sequenceLength: 16).sines.floats())
        #expect(abs(dot(try rotated(q, at: 9), try rotated(q, at: 9)) - dot(q, q)) < 1e-4)
    }
}
