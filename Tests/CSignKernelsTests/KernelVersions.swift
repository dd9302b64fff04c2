import CSignKernels

/// The versions that this machine can run.
func availableKernels() -> [UnsafePointer<sign_kernels_table>] {
    var tables: [UnsafePointer<sign_kernels_table>] = []
    var index = 0
    while let name = sign_kernels_known_name(index) {
        if let table = sign_kernels_find(name) { tables.append(table) }
        index += 1
    }
    return tables
}

func name(_ kernels: UnsafePointer<sign_kernels_table>) -> String { String(cString: kernels.pointee.name) }

/// Random numbers of a fixed seed (SplitMix64), so that a failure comes back.
struct TestGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return word ^ word >> 31
    }

    mutating func floats(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
        (0..<count).map { _ in Float.random(in: range, using: &self) }
    }
}
