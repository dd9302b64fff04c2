/// The classes of characters that the split patterns tell apart.
enum CharacterClass {
    /// `\p{L}`
    case letter
    /// `\p{N}`
    case number
    /// `\s`: Unicode's White_Space.
    case whitespace
    case other

    private static let ascii: [CharacterClass] = (0..<128).map { value in classify(Unicode.Scalar(UInt8(value))) }

    /// The class of the scalar at `position` of valid UTF-8, and its length in bytes.
    @inline(__always)
    static func at(_ position: Int, of bytes: UnsafeBufferPointer<UInt8>) -> (class: CharacterClass, length: Int) {
        let first = bytes[position]
        if first < 0x80 { return (ascii[Int(first)], 1) }
        let (scalar, length) = utf8Scalar(in: bytes, at: position)
        return (classify(scalar), length)
    }

    private static func classify(_ scalar: Unicode.Scalar) -> CharacterClass {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: .letter
        case .decimalNumber, .letterNumber, .otherNumber: .number
        default: scalar.properties.isWhitespace ? .whitespace : .other
        }
    }
}
