import CSignKernels
import Testing

@Suite struct ChecksumTests {
    @Test(
        "A changed bit, a missing byte, added zeros and exchanged words all change the checksum",
        arguments: [1, 64, 200])
    func changes(count: Int) {
        var generator = TestGenerator(state: 4)
        let bytes = (0..<count).map { _ in UInt8.random(in: 1...255, using: &generator) }
        let right = sign_kernels_checksum(bytes, count)
        #expect(sign_kernels_checksum(bytes, count) == right)
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 1 << (index % 8)
            #expect(sign_kernels_checksum(damaged, count) != right)
        }
        #expect(sign_kernels_checksum(bytes, count - 1) != right)
        #expect(sign_kernels_checksum(bytes + [0], count + 1) != right)
        if count >= 128 {
            let exchanged = Array(bytes[64..<128] + bytes[..<64] + bytes[128...])
            #expect(sign_kernels_checksum(exchanged, count) != right)
        }
    }
}
