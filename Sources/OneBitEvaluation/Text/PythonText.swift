import Foundation

/// Python's string methods, where prompts are defined by them: by Unicode scalars, and not by the characters of Swift,
/// to which a letter and its accent, or a line end of two, are one.
enum PythonText {
    /// `str.strip()`
    static func strip(_ text: String) -> String {
        let scalars = text.unicodeScalars
        guard let first = scalars.firstIndex(where: { !isSpace($0) }) else { return "" }
        return String(scalars[first...scalars.lastIndex { !isSpace($0) }!])
    }

    /// A text as what `str.rstrip()` leaves of it, and what it takes away.
    static func splittingTrailingSpace(_ text: String) -> (stripped: String, space: String) {
        let scalars = text.unicodeScalars
        let end = scalars.lastIndex { !isSpace($0) }.map { scalars.index(after: $0) } ?? scalars.startIndex
        return (String(scalars[..<end]), String(scalars[end...]))
    }

    /// `str.capitalize()`: the first letter in title case, all others in lower case.
    static func capitalize(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return "" }
        return first.properties.titlecaseMapping + String(text.unicodeScalars.dropFirst()).lowercased()
    }

    /// `str.replace(old, new)`
    static func replace(_ old: String, with new: String, in text: String) -> String {
        text.replacingOccurrences(of: old, with: new, options: .literal)
    }

    /// `str.isspace()` of one scalar: Python counts the four separators of ASCII as white space, Unicode does not.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }
}

/// The integers that Python's `random` draws behind `random.seed(seed)`.
///
/// MT19937 (Matsumoto & Nishimura 1998), its state filled by `init_by_array` with the seed's 32-bit words; a number below n
/// is the upper bits of one output, as many as n has, drawn again while it is n or more (`_randbelow_with_getrandbits`).
struct PythonRandom {
    private static let size = 624
    private static let shift = 397

    private var state = [UInt32](repeating: 0, count: size)
    private var next = size

    init(seed: UInt64) {
        var key = [UInt32(truncatingIfNeeded: seed)]
        if seed > UInt32.max { key.append(UInt32(seed >> 32)) }

        state[0] = 19_650_218
        for i in 1..<Self.size { state[i] = 1_812_433_253 &* mixed(i - 1) &+ UInt32(i) }
        var i = 1
        func advance() {
            i += 1
            if i == Self.size {
                state[0] = state[Self.size - 1]
                i = 1
            }
        }
        var j = 0
        for _ in 0..<max(Self.size, key.count) {
            state[i] = (state[i] ^ (mixed(i - 1) &* 1_664_525)) &+ key[j] &+ UInt32(j)
            advance()
            j = (j + 1) % key.count
        }
        for _ in 1..<Self.size {
            state[i] = (state[i] ^ (mixed(i - 1) &* 1_566_083_941)) &- UInt32(i)
            advance()
        }
        state[0] = 0x8000_0000
    }

    /// A number from 0 to `bound` − 1, which is below 2³².
    mutating func integer(below bound: Int) -> Int {
        // Python takes the bits of the bound itself, not of the largest number: one more for powers of two.
        let bits = Int.bitWidth - bound.leadingZeroBitCount
        precondition((1...32).contains(bits), "a bound of \(bound)")
        while true {
            let number = Int(output() >> UInt32(32 - bits))
            if number < bound { return number }
        }
    }

    private func mixed(_ index: Int) -> UInt32 { state[index] ^ (state[index] >> 30) }

    private mutating func output() -> UInt32 {
        if next == Self.size { twist() }
        var value = state[next]
        next += 1
        value ^= value >> 11
        value ^= (value << 7) & 0x9D2C_5680
        value ^= (value << 15) & 0xEFC6_0000
        return value ^ (value >> 18)
    }

    private mutating func twist() {
        for i in 0..<Self.size {
            let joined = (state[i] & 0x8000_0000) | (state[(i + 1) % Self.size] & 0x7FFF_FFFF)
            state[i] = state[(i + Self.shift) % Self.size] ^ (joined >> 1) ^ (joined & 1 == 0 ? 0 : 0x9908_B0DF)
        }
        next = 0
    }
}
