import JSON
import TensorFiles

/// Byte-level tokens to text. Bytes that are not UTF-8 become U+FFFD, one for each maximal part of a sequence.
struct ByteLevelStage: DecoderStage {
    /// The beginning of a character whose other bytes may follow.
    private var pending: [UInt8] = []

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        ByteAlphabet.appendBytes(of: token, to: &pending)
        let settled = pending.count - Self.unfinishedSuffixLength(of: pending)
        guard settled > 0 else { return }
        output.append(Array(String(decoding: pending[..<settled], as: UTF8.self).utf8))
        pending.removeSubrange(..<settled)
    }

    mutating func finish(to output: inout [[UInt8]]) {
        if !pending.isEmpty { output.append(Array(String(decoding: pending, as: UTF8.self).utf8)) }
        pending = []
    }

    /// Length of the leading byte and continuation bytes at the end that lack further bytes: 0 to 3.
    private static func unfinishedSuffixLength(of bytes: [UInt8]) -> Int {
        for (index, byte) in bytes.reversed().prefix(3).enumerated() where byte & 0xC0 != 0x80 {
            return byte >= 0xC0 && utf8Length(ofLeadingByte: byte) > index + 1 ? index + 1 : 0
        }
        return 0
    }
}

/// Tokens such as "<0x0A>" to the bytes that they spell. What a run of them means is known when it ends.
struct ByteFallbackStage: DecoderStage {
    /// What becomes of a run of bytes that is not UTF-8.
    enum InvalidRun: Sendable {
        /// `tokenizers`: every byte of it becomes U+FFFD, good ones too.
        case replacedWhole
        /// sentencepiece: every byte that belongs to no character becomes U+FFFD.
        case replacedByByte
    }

    let invalidRun: InvalidRun
    private var run: [UInt8] = []

    init(invalidRun: InvalidRun) { self.invalidRun = invalidRun }

    mutating func append(_ token: [UInt8], to output: inout [[UInt8]]) {
        if let byte = Self.byte(of: token) {
            run.append(byte)
        } else {
            finish(to: &output)
            output.append(token)
        }
    }

    mutating func finish(to output: inout [[UInt8]]) {
        guard !run.isEmpty else { return }
        defer { run = [] }
        if String(validating: run, as: UTF8.self) != nil {
            output.append(run)
            return
        }
        let replacement = Array("\u{FFFD}".utf8)
        switch invalidRun {
        case .replacedWhole:
            output.append(Array(repeatElement(replacement, count: run.count).joined()))
        case .replacedByByte:
            var text: [UInt8] = []
            var rest = run[...]
            while let first = rest.first {
                let character = rest.prefix(utf8Length(ofLeadingByte: first))
                let isValid = String(validating: character, as: UTF8.self) != nil
                text += isValid ? Array(character) : replacement
                rest.removeFirst(isValid ? character.count : 1)
            }
            output.append(text)
        }
    }

    private static func byte(of token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: Array("<0x".utf8)), token[5] == UInt8(ascii: ">"),
            let high = hexadecimalValue(of: token[3]), let low = hexadecimalValue(of: token[4])
        else { return nil }
        return high << 4 | low
    }
}
