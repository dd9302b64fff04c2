import Foundation

/// A number of one of the three kinds; booleans are integers.
enum Number {
    case integer(Int)
    case big(BigInteger)
    case float(Double)

    var double: Double {
        switch self {
        case .integer(let value): Double(value)
        case .big(let value): Double(value)
        case .float(let value): value
        }
    }

    var isZero: Bool {
        switch self {
        case .integer(let value): value == 0
        case .big: false
        case .float(let value): value == 0
        }
    }

    /// The number as an integer, if it is one.
    var big: BigInteger? {
        switch self {
        case .integer(let value): BigInteger(value)
        case .big(let value): value
        case .float: nil
        }
    }
}

extension Value {
    var number: Number? {
        switch self {
        case .boolean(let value): .integer(value ? 1 : 0)
        case .integer(let value): .integer(value)
        case .bigInteger(let value): .big(value)
        case .float(let value): .float(value)
        default: nil
        }
    }
}

/// Python's arithmetic on numbers.
enum Arithmetic {
    static func compute(_ operation: BinaryOperator, _ left: Number, _ right: Number) throws -> Value {
        if case .integer(let left) = left, case .integer(let right) = right,
            let result = small(operation, left, right)
        {
            return .integer(result)
        }
        if operation == .divide { return .float(try quotient(left, right)) }
        if let left = left.big, let right = right.big { return try compute(operation, left, right) }
        return .float(try compute(operation, converted(left), converted(right)))
    }

    /// What fits in `Int`.
    private static func small(_ operation: BinaryOperator, _ left: Int, _ right: Int) -> Int? {
        let (result, overflows) =
            switch operation {
            case .add: left.addingReportingOverflow(right)
            case .subtract: left.subtractingReportingOverflow(right)
            case .multiply: left.multipliedReportingOverflow(by: right)
            case .floorDivide where right != 0 && !(left == .min && right == -1):
                (left / right - (left % right != 0 && (left < 0) != (right < 0) ? 1 : 0), false)
            case .modulo where right != 0 && right != -1:
                (left % right + (left % right != 0 && (left < 0) != (right < 0) ? right : 0), false)
            default: (0, true)
            }
        return overflows ? nil : result
    }

    private static func compute(_ operation: BinaryOperator, _ left: BigInteger, _ right: BigInteger) throws -> Value {
        switch operation {
        case .add: return .integer(left + right)
        case .subtract: return .integer(left - right)
        case .multiply: return .integer(try within(BigInteger.product(left, right)))
        case .floorDivide: return .integer(try divided(left, right).quotient)
        case .modulo: return .integer(try divided(left, right).remainder)
        case .power:
            if right.signum < 0 { return .float(try power(Double(left), Double(right))) }
            if left == BigInteger(0) || left == BigInteger(1) { return .integer(right.isZero ? BigInteger(1) : left) }
            if left == BigInteger(-1) { return .integer(right.isEven ? 1 : -1) }
            return .integer(try within(Int(exactly: right).flatMap(left.power)))
        case .divide: preconditionFailure("division gives a float")
        }
    }

    private static func within(_ value: BigInteger?) throws -> BigInteger {
        guard let value else {
            throw TemplateError(.limit, "an integer has more than \(BigInteger.maximumBits) bits")
        }
        return value
    }

    private static func divided(
        _ left: BigInteger, _ right: BigInteger
    ) throws -> (quotient: BigInteger, remainder: BigInteger) {
        if right.isZero { throw TemplateError(.zeroDivision, "integer division or modulo by zero") }
        return left.dividedFloor(by: right)
    }

    private static func converted(_ number: Number) throws -> Double {
        let value = number.double
        if case .big = number, value.isInfinite { throw TemplateError(.overflow, "int too large to convert to float") }
        return value
    }

    private static func quotient(_ left: Number, _ right: Number) throws -> Double {
        if right.isZero { throw TemplateError(.zeroDivision, "division by zero") }
        return try converted(left) / converted(right)
    }

    private static func compute(_ operation: BinaryOperator, _ left: Double, _ right: Double) throws -> Double {
        switch operation {
        case .add: return left + right
        case .subtract: return left - right
        case .multiply: return left * right
        case .divide: return left / right
        case .floorDivide: return try floorDivided(left, right).quotient
        case .modulo: return try floorDivided(left, right).remainder
        case .power: return try power(left, right)
        }
    }

    /// As CPython's `float_divmod`: the quotient is a whole number, the remainder has the divisor's sign.
    private static func floorDivided(_ left: Double, _ right: Double) throws -> (quotient: Double, remainder: Double) {
        if right == 0 { throw TemplateError(.zeroDivision, "float floor division by zero") }
        var remainder = fmod(left, right)
        var quotient = (left - remainder) / right
        if remainder != 0 {
            if (right < 0) != (remainder < 0) {
                remainder += right
                quotient -= 1
            }
        } else {
            remainder = Double(signOf: right, magnitudeOf: 0)
        }
        guard quotient != 0 else { return (Double(signOf: left / right, magnitudeOf: 0), remainder) }
        let floor = quotient.rounded(.down)
        return (quotient - floor > 0.5 ? floor + 1 : floor, remainder)
    }

    private static func power(_ base: Double, _ exponent: Double) throws -> Double {
        if base == 0, exponent < 0 {
            throw TemplateError(.zeroDivision, "0.0 cannot be raised to a negative power")
        }
        let result = pow(base, exponent)
        if result.isInfinite, base.isFinite, exponent.isFinite {
            throw TemplateError(.overflow, "the result of ** is out of range")
        }
        if result.isNaN, base.isFinite, exponent.isFinite {
            throw TemplateError.type("a negative number has no fractional power: complex numbers are not supported")
        }
        return result
    }

    /// Python's `round(number, digits)` of a float: of the exact decimal value, halves to even.
    static func rounded(_ value: Double, digits: Int) -> Double {
        guard value.isFinite, value != 0, digits < 330 else { return value }
        if digits >= 0 { return Double(decimal(value, "%.*f", digits: digits)) ?? value }
        guard digits > -310 else { return Double(signOf: value, magnitudeOf: 0) }
        let scale = pow(10, Double(-digits))
        return (value / scale).rounded(.toNearestOrEven) * scale
    }

    /// A number in C's `printf`. The number of digits is bounded by the caller.
    static func decimal(_ value: Double, _ format: String, digits: Int) -> String {
        String(format: format, digits, value)
    }
}
