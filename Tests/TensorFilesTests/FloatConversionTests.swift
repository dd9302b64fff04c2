import Testing

@testable import TensorFiles

struct FloatConversionTests {
    @Test("Every half becomes the float that Swift's own conversion gives")
    func halfToFloat() {
        for pattern in 0...UInt16.max {
            let expected = Float(Float16(bitPattern: pattern))
            let found = FloatConversion.float(pattern)
            let equal = expected.isNaN ? found.isNaN : found.bitPattern == expected.bitPattern
            if !equal { Issue.record("\(pattern): \(found), expected \(expected)") }
        }
    }

    @Test("Floats at, between and beside all halves round as Swift's own conversion rounds")
    func floatToHalf() {
        for pattern in stride(from: UInt16(0), to: 0x7BFF, by: 1) {
            let lower = Float(Float16(bitPattern: pattern))
            let middle = (lower + Float(Float16(bitPattern: pattern + 1))) / 2
            for value in [lower, middle, middle.nextUp, middle.nextDown, -lower, -middle] {
                guard FloatConversion.half(value) != Float16(value).bitPattern else { continue }
                Issue.record("\(value): \(FloatConversion.half(value)), expected \(Float16(value).bitPattern)")
            }
        }
        #expect(FloatConversion.half(65519) == 0x7BFF)
        #expect(FloatConversion.half(.leastNonzeroMagnitude) == 0)
        #expect(FloatConversion.half(-0.0) == 0x8000)
    }
}

struct ChecksumTests {
    @Test(
        "The checksum is XXH64",
        arguments: [
            ("", 0xEF46_DB37_51D8_E999), ("a", 0xD24E_C4F1_A98C_6E5B), ("abc", 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
        ] as [(String, UInt64)]
    )
    func reference(text: String, expected: UInt64) {
        #expect(Array(text.utf8).withUnsafeBytes { xxHash64($0) } == expected)
    }
}
