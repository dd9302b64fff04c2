/// A number that stands for a sequence of values: equal ones have equal numbers, on every machine and in every run
/// (which Swift's `Hasher` does not promise), and different ones in all likelihood different numbers.
struct Fingerprint {
    private(set) var value: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// SplitMix64's step, the state moved by the word.
    mutating func combine(_ word: UInt64) {
        var mixed = (value ^ word) &+ 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        value = mixed ^ (mixed >> 31)
    }

    /// The length goes first, so that sequences do not run into each other.
    mutating func combine(_ tokens: [Int]) {
        combine(UInt64(tokens.count))
        for token in tokens { combine(UInt64(bitPattern: Int64(token))) }
    }

    mutating func combine(_ bytes: some Collection<UInt8>) {
        combine(UInt64(bytes.count))
        for byte in bytes { combine(UInt64(byte)) }
    }
}
