/// An integer of any size, for the few that templates compute beyond 64 bits: sign and magnitude, 32 bits a digit.
struct BigInteger: Hashable {
    /// About as many decimal digits as Python converts to text (4300). Larger numbers are refused.
    static let maximumBits = 14_000

    private var isNegative: Bool
    /// The least significant first, without zeros at the end.
    private var digits: [UInt32]

    private init(isNegative: Bool, digits: [UInt32]) {
        var digits = digits
        while digits.last == 0 { digits.removeLast() }
        self.digits = digits
        self.isNegative = isNegative && !digits.isEmpty
    }

    init(_ value: Int) {
        let magnitude = value.magnitude
        self.init(isNegative: value < 0, digits: [UInt32(truncatingIfNeeded: magnitude), UInt32(magnitude >> 32)])
    }

    /// The integer part of a finite number.
    init(_ value: Double) {
        let number = value.rounded(.towardZero).magnitude
        guard number >= 1 else {
            self.init(0)
            return
        }
        let exponent = Int(number.exponent)
        let significand = Int(number.significandBitPattern | 1 << 52)
        let magnitude = BigInteger(significand).shifted(by: exponent - 52)
        self.init(isNegative: value < 0, digits: magnitude.digits)
    }

    /// Reads digits of a base up to 36.
    init?(_ text: some Sequence<UInt32>, base: UInt32) {
        var digits: [UInt32] = []
        for value in text {
            var carry = UInt64(value)
            for index in digits.indices {
                carry += UInt64(digits[index]) * UInt64(base)
                digits[index] = UInt32(truncatingIfNeeded: carry)
                carry >>= 32
            }
            if carry > 0 { digits.append(UInt32(carry)) }
            guard digits.count * 32 <= Self.maximumBits else { return nil }
        }
        self.init(isNegative: false, digits: digits)
    }

    var isZero: Bool { digits.isEmpty }
    var signum: Int { isZero ? 0 : isNegative ? -1 : 1 }
    var isEven: Bool { (digits.first ?? 0).isMultiple(of: 2) }
    var bitWidth: Int { digits.isEmpty ? 0 : digits.count * 32 - digits[digits.count - 1].leadingZeroBitCount }
    var bitCount: Int { digits.reduce(0) { $0 + $1.nonzeroBitCount } }

    private func shifted(by bits: Int) -> BigInteger {
        if bits <= 0 {
            var result = self
            for _ in 0..<(-bits) { result = Self.dividing(result.digits, by: 2).quotient }
            return result
        }
        var digits = [UInt32](repeating: 0, count: bits / 32)
        var carry: UInt64 = 0
        for digit in self.digits {
            carry |= UInt64(digit) << UInt64(bits % 32)
            digits.append(UInt32(truncatingIfNeeded: carry))
            carry >>= 32
        }
        digits.append(UInt32(carry))
        return BigInteger(isNegative: isNegative, digits: digits)
    }

    static prefix func - (value: BigInteger) -> BigInteger {
        BigInteger(isNegative: !value.isNegative, digits: value.digits)
    }

    static func + (left: BigInteger, right: BigInteger) -> BigInteger {
        if left.isNegative == right.isNegative {
            return BigInteger(isNegative: left.isNegative, digits: sum(left.digits, right.digits))
        }
        if isLess(left.digits, right.digits) {
            return BigInteger(isNegative: right.isNegative, digits: difference(right.digits, left.digits))
        }
        return BigInteger(isNegative: left.isNegative, digits: difference(left.digits, right.digits))
    }

    static func - (left: BigInteger, right: BigInteger) -> BigInteger { left + -right }

    /// The product; nil where it has too many bits.
    static func product(_ left: BigInteger, _ right: BigInteger) -> BigInteger? {
        guard left.bitWidth + right.bitWidth <= maximumBits else { return nil }
        var digits = [UInt32](repeating: 0, count: left.digits.count + right.digits.count)
        for (offset, leftDigit) in left.digits.enumerated() {
            var carry: UInt64 = 0
            for (index, rightDigit) in right.digits.enumerated() {
                carry += UInt64(leftDigit) * UInt64(rightDigit) + UInt64(digits[offset + index])
                digits[offset + index] = UInt32(truncatingIfNeeded: carry)
                carry >>= 32
            }
            digits[offset + right.digits.count] = UInt32(carry)
        }
        return BigInteger(isNegative: left.isNegative != right.isNegative, digits: digits)
    }

    /// The power of an exponent that is not negative; nil where it has too many bits.
    func power(_ exponent: Int) -> BigInteger? {
        var result = BigInteger(1)
        var base = self
        var rest = exponent
        while rest > 0 {
            if rest & 1 == 1 {
                guard let product = Self.product(result, base) else { return nil }
                result = product
            }
            rest >>= 1
            guard rest > 0 else { break }
            guard let square = Self.product(base, base) else { return nil }
            base = square
        }
        return result
    }

    /// Quotient and remainder as Python has them: rounded down, the remainder of the divisor's sign.
    func dividedFloor(by divisor: BigInteger) -> (quotient: BigInteger, remainder: BigInteger) {
        let (quotient, remainder) = Self.longDivision(digits, by: divisor.digits)
        if isNegative == divisor.isNegative {
            return (quotient, BigInteger(isNegative: isNegative, digits: remainder.digits))
        }
        if remainder.isZero { return (-quotient, remainder) }
        let rest = Self.difference(divisor.digits, remainder.digits)
        return (-quotient - BigInteger(1), BigInteger(isNegative: divisor.isNegative, digits: rest))
    }

    /// Bit by bit: numbers are short, and seldom divided.
    private static func longDivision(
        _ digits: [UInt32], by divisor: [UInt32]
    ) -> (quotient: BigInteger, remainder: BigInteger) {
        if divisor.count == 1 {
            let (quotient, remainder) = dividing(digits, by: divisor[0])
            return (quotient, BigInteger(Int(remainder)))
        }
        var quotient = [UInt32](repeating: 0, count: digits.count)
        var remainder: [UInt32] = []
        for bit in stride(from: digits.count * 32 - 1, through: 0, by: -1) {
            remainder = sum(remainder, remainder)
            if digits[bit / 32] >> UInt32(bit % 32) & 1 == 1 { remainder = sum(remainder, [1]) }
            while remainder.last == 0 { remainder.removeLast() }
            if !isLess(remainder, divisor) {
                remainder = difference(remainder, divisor)
                while remainder.last == 0 { remainder.removeLast() }
                quotient[bit / 32] |= 1 << UInt32(bit % 32)
            }
        }
        return (BigInteger(isNegative: false, digits: quotient), BigInteger(isNegative: false, digits: remainder))
    }

    private static func dividing(_ digits: [UInt32], by divisor: UInt32) -> (quotient: BigInteger, remainder: UInt32) {
        var quotient = digits
        var remainder: UInt64 = 0
        for index in digits.indices.reversed() {
            remainder = remainder << 32 | UInt64(digits[index])
            quotient[index] = UInt32(remainder / UInt64(divisor))
            remainder %= UInt64(divisor)
        }
        return (BigInteger(isNegative: false, digits: quotient), UInt32(remainder))
    }

    private static func sum(_ left: [UInt32], _ right: [UInt32]) -> [UInt32] {
        var sum: [UInt32] = []
        var carry: UInt64 = 0
        for index in 0..<max(left.count, right.count) {
            carry += index < left.count ? UInt64(left[index]) : 0
            carry += index < right.count ? UInt64(right[index]) : 0
            sum.append(UInt32(truncatingIfNeeded: carry))
            carry >>= 32
        }
        if carry > 0 { sum.append(UInt32(carry)) }
        return sum
    }

    /// `left` less `right`, which is not larger.
    private static func difference(_ left: [UInt32], _ right: [UInt32]) -> [UInt32] {
        var difference = left
        var borrow: Int64 = 0
        for index in left.indices {
            borrow += Int64(left[index]) - (index < right.count ? Int64(right[index]) : 0)
            difference[index] = UInt32(truncatingIfNeeded: borrow)
            borrow >>= 32
        }
        return difference
    }

    private static func isLess(_ left: [UInt32], _ right: [UInt32]) -> Bool {
        if left.count != right.count { return left.count < right.count }
        for (leftDigit, rightDigit) in zip(left, right).reversed() where leftDigit != rightDigit {
            return leftDigit < rightDigit
        }
        return false
    }
}

extension BigInteger: Comparable {
    static func < (left: BigInteger, right: BigInteger) -> Bool {
        if left.isNegative != right.isNegative { return left.isNegative }
        return left.isNegative ? isLess(right.digits, left.digits) : isLess(left.digits, right.digits)
    }
}

extension BigInteger {
    /// The number in a base up to 36, in lower case.
    func text(base: UInt32 = 10) -> String {
        guard !isZero else { return "0" }
        var text: [Character] = []
        var rest = self
        while !rest.isZero {
            let (quotient, remainder) = Self.dividing(rest.digits, by: base)
            text.append(Character(String(remainder, radix: Int(base))))
            rest = quotient
        }
        return (isNegative ? "-" : "") + String(text.reversed())
    }
}

extension Int {
    init?(exactly value: BigInteger) {
        guard value.bitWidth <= 64, let number = Int(value.text()) else { return nil }
        self = number
    }
}

extension Double {
    /// The nearest number; infinite where there is none.
    init(_ value: BigInteger) { self = Double(value.text()) ?? .nan }
}
