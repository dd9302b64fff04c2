/// How byte-level vocabularies spell bytes: each byte is one printable character.
///
/// GPT-2's alphabet: the printable characters of Latin-1 stand for themselves, and the other 68 bytes, in order, are the
/// characters from U+0100 on (so the space is "Ġ").
enum ByteAlphabet {
    /// The character of each byte.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (UInt8.min...UInt8.max).map { byte in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return Unicode.Scalar(byte)
            default:
                defer { next += 1 }
                return Unicode.Scalar(next).unsafelyUnwrapped  // U+0100...U+0143 are scalars
            }
        }
    }()

    /// The character of each byte in UTF-8: one or two bytes.
    static let spellings: [[UInt8]] = scalars.map { Array(UTF8.encode($0).unsafelyUnwrapped) }

    /// The byte of each character below U+0144, where there is one.
    private static let bytes: [UInt8?] = {
        var bytes = [UInt8?](repeating: nil, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { bytes[Int(scalar.value)] = UInt8(byte) }
        return bytes
    }()

    /// `text` spelled in the alphabet.
    static func spell(_ text: some Sequence<UInt8>, into output: inout [UInt8]) {
        for byte in text { output.append(contentsOf: spellings[Int(byte)]) }
    }

    /// Appends the bytes that a token stands for. A token with any character from outside the alphabet stands for its
    /// own UTF-8, as the reference has it.
    static func appendBytes(of token: ArraySlice<UInt8>, to output: inout [UInt8]) {
        let start = output.count
        token.withUnsafeBufferPointer { token in
            var position = 0
            while position < token.count {
                let (scalar, length) = utf8Scalar(in: token, at: position)
                guard Int(scalar.value) < bytes.count, let byte = bytes[Int(scalar.value)] else {
                    output.removeSubrange(start...)
                    output.append(contentsOf: token)
                    return
                }
                output.append(byte)
                position += length
            }
        }
    }
}
