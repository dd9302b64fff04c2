/// Spaces as visible characters: SentencePiece's "▁".
struct Metaspace: Sendable {
    /// Where a separator is put in front of a text that does not begin with one.
    enum PrependScheme: String, Sendable, CaseIterable {
        case always
        case first
        case never
    }

    /// The character that stands for a space, in UTF-8.
    let replacement: [UInt8]
    let scheme: PrependScheme

    func apply(to text: inout PreTokenizedText) {
        text.rewritePieces { piece, startsText, output in
            let start = output.count
            for byte in piece {
                if byte == UInt8(ascii: " ") { output.append(contentsOf: replacement) } else { output.append(byte) }
            }
            let prepends = scheme == .always || (scheme == .first && startsText)
            if prepends, !output[start...].starts(with: replacement) {
                output.insert(contentsOf: replacement, at: start)
            }
        }
    }
}
