import Foundation

/// Rewrites a text before it is cut into words.
indirect enum Normalizer: Sendable {
    case sequence([Normalizer])
    /// Puts a string in front of a text that is not empty.
    case prepend([UInt8])
    /// SentencePiece's dummy prefix: a word separator in front of a text that is not empty. Behind an added token only under
    /// the scheme `always`, and not where the text begins with a separator or a space.
    case dummyPrefix([UInt8], Metaspace.PrependScheme)
    case replace(SearchPattern, with: [UInt8])
    /// Unicode's canonical composition.
    case canonicalComposition
    case lowercase
    /// Removes white space at the ends.
    case strip(left: Bool, right: Bool)
    /// SentencePiece's `remove_extra_whitespaces`: no spaces at the ends, single ones between words.
    case collapseSpaces

    /// Normalizes a text, or with `startsText` false what stands behind an added token.
    ///
    /// - Throws: what `SearchPattern.forEachMatch` throws.
    func normalize(_ text: inout [UInt8], startsText: Bool) throws {
        switch self {
        case .sequence(let normalizers):
            for normalizer in normalizers { try normalizer.normalize(&text, startsText: startsText) }
        case .prepend(let prefix):
            if !text.isEmpty { text.insert(contentsOf: prefix, at: 0) }
        case .dummyPrefix(let separator, let scheme):
            let hasSeparator = text.first == UInt8(ascii: " ") || text.starts(with: separator)
            guard !text.isEmpty, scheme != .never, startsText || scheme == .always && !hasSeparator else { return }
            text.insert(contentsOf: separator, at: 0)
        case .replace(let pattern, let content):
            text = try pattern.replaced(in: text, with: content)
        case .canonicalComposition:
            text = CanonicalComposition.composed(text)
        case .lowercase:
            var output: [UInt8] = []
            output.reserveCapacity(text.count)
            for scalar in String(decoding: text, as: UTF8.self).unicodeScalars {
                output.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
            }
            text = output
        case .strip(let left, let right):
            var scalars = Substring(String(decoding: text, as: UTF8.self)).unicodeScalars
            if left { scalars = scalars.drop { $0.properties.isWhitespace } }
            if right { while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() } }
            text = Array(Substring(scalars).utf8)
        case .collapseSpaces:
            var output: [UInt8] = []
            output.reserveCapacity(text.count)
            for byte in text where byte != UInt8(ascii: " ") || (output.last ?? byte) != byte { output.append(byte) }
            if output.last == UInt8(ascii: " ") { output.removeLast() }
            text = output
        }
    }
}
