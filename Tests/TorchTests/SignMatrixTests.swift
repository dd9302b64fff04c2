import Testing

@testable import Torch

@Suite("Sign matrices")
struct SignMatrixTests {
    @Test("Bits are in the order of packed checkpoints; sign(0) and sign(−0) are +1")
    func bits() throws {
        let latent: [Float] = [-1, 2, 0, -0.0, -3, 1, 1, -1e-30, -5, 4, 1, 1, 1, -1, 1, 1, 1, 1, 1, -2]
        let signs = try SignMatrix(signsOf: .floats(latent, shape: [2, 10]))
        #expect((signs.rows, signs.columns) == (2, 10))
        #expect(try signs.bits.integers() == [0b1001_0001, 0b01, 0b1000, 0b10])
        #expect(try signs.unpacked().floats() == latent.map { $0 < 0 ? -1 : 1 })
    }

    @Test("From bits and back, in every width and type", arguments: [1, 7, 8, 9, 64, 100])
    func roundTrip(columns: Int) throws {
        let latent = try Tensor.randn([5, columns], using: Generator(seed: 1))
        let signs = try SignMatrix(signsOf: latent)
        let again = try SignMatrix(bits: signs.bits, columns: columns)
        let expected = try latent.floats().map { Float($0 < 0 ? -1 : 1) }
        for dtype in [DType.float32, .float16, .bfloat16] {
            #expect(try again.unpacked(dtype).floats() == expected)
            let half = try SignMatrix(signsOf: latent.converted(to: dtype, device: .cpu))
            #expect(try half.bits.integers() == signs.bits.integers())
        }
    }

    @Test("Turned signs are counted; bits of another width are refused")
    func turned() throws {
        let one = try SignMatrix(signsOf: .floats([1, 1, -1, -1, 1, 1, 1, 1, 1, 1], shape: [1, 10]))
        let other = try SignMatrix(signsOf: .floats([1, -1, 1, -1, 1, 1, 1, 1, 1, -1], shape: [1, 10]))
        #expect(try other.turned(from: one) == 3)
        #expect(try one.turned(from: one) == 0)
        #expect(throws: TorchError.self) { try SignMatrix(bits: one.bits, columns: 20) }
    }
}
