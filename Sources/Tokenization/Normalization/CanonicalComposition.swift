import Foundation

/// Unicode's canonical composition (NFC) of UTF-8.
///
/// Nearly all text is composed already, and Foundation is slow to find that out. So only the stretches that may change go
/// through it: a character that is never changed and never joins what comes before it separates two stretches.
enum CanonicalComposition {
    static func composed(_ text: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        text.withUnsafeBufferPointer { bytes in
            var position = 0
            // The stretch: one separating character, which marks may follow, and what follows it.
            var stretch = 0
            var mayChange = false
            var written = 0
            func closeStretch() {
                guard mayChange else { return }
                if output.isEmpty { output.reserveCapacity(bytes.count) }
                output.append(contentsOf: bytes[written..<stretch])
                output.append(contentsOf: composedStretch(UnsafeBufferPointer(rebasing: bytes[stretch..<position])))
                written = position
                mayChange = false
            }
            while position < bytes.count {
                if bytes[position] < 0x80 {
                    closeStretch()
                    stretch = position
                    position += 1
                    continue
                }
                let (scalar, length) = utf8Scalar(in: bytes, at: position)
                if separates(scalar) {
                    closeStretch()
                    stretch = position
                } else {
                    mayChange = true
                }
                position += length
            }
            closeStretch()
            if written > 0 { output.append(contentsOf: bytes[written...]) }
        }
        return output.isEmpty ? text : output
    }

    /// Whether a character is never changed by composition, unless by what follows it. Some of those that are.
    private static func separates(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x300,  // Latin
            0x400...0x482,  // Cyrillic
            0x2010...0x2027,  // dashes, quotation marks
            0x3041...0x3096, 0x30A1...0x30FA,  // kana
            0x4E00...0x9FFF,  // Chinese
            0xAC00...0xD7A3,  // Hangul
            0xFF01...0xFF9D:  // full-width characters
            true
        default: false
        }
    }

    /// Composes by the algorithm of Unicode's Annex 15: decompose, order the marks, compose. Foundation serves as the
    /// table of single decompositions and compositions. Over longer text it gets some of them wrong (Swift 6.3 on Linux:
    /// U+0F73 after a mark, U+AC00 before U+11A8).
    private static func composedStretch(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var scalars: [Unicode.Scalar] = []
        for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
            appendDecomposition(of: scalar, to: &scalars)
        }
        orderMarks(in: &scalars)
        return compose(scalars).flatMap { Array(String($0).utf8) }
    }

    private static func appendDecomposition(of scalar: Unicode.Scalar, to output: inout [Unicode.Scalar]) {
        if let jamo = Hangul.decomposition(of: scalar) {
            output += jamo
        } else {
            output += String(scalar).decomposedStringWithCanonicalMapping.unicodeScalars
        }
    }

    /// Sorts each run of marks by combining class; those of one class keep their order.
    private static func orderMarks(in scalars: inout [Unicode.Scalar]) {
        var start = 0
        while start < scalars.count {
            var end = start
            while end < scalars.count, combiningClass(scalars[end]) > 0 { end += 1 }
            if end - start > 1 {
                // The standard library's sort is stable.
                scalars[start..<end].sort { combiningClass($0) < combiningClass($1) }
            }
            start = end + 1
        }
    }

    private static func compose(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var output: [Unicode.Scalar] = []
        var starter: Int?
        for scalar in scalars {
            let ownClass = combiningClass(scalar)
            if let starter {
                // A mark of the same or a higher class in between blocks.
                let isNext = starter == output.count - 1
                let isBlocked = !isNext && combiningClass(output[output.count - 1]) >= ownClass
                if !isBlocked, let composite = composite(of: output[starter], scalar) {
                    output[starter] = composite
                    continue
                }
            }
            if ownClass == 0 { starter = output.count }
            output.append(scalar)
        }
        return output
    }

    private static func composite(of starter: Unicode.Scalar, _ next: Unicode.Scalar) -> Unicode.Scalar? {
        if Hangul.isHangul(starter) { return Hangul.composite(of: starter, next) }
        // Decomposed first: what Foundation takes for composed already, it leaves alone (U+0CCA before U+0CD5). And back
        // again: it takes some characters for others (U+10041 for U+0041).
        let decomposed = (String(starter) + String(next)).decomposedStringWithCanonicalMapping
        let composed = decomposed.precomposedStringWithCanonicalMapping
        guard let composite = composed.unicodeScalars.first, composed.unicodeScalars.count == 1,
            composed.decomposedStringWithCanonicalMapping.unicodeScalars.elementsEqual(decomposed.unicodeScalars)
        else { return nil }
        return composite
    }

    private static func combiningClass(_ scalar: Unicode.Scalar) -> UInt8 {
        scalar.properties.canonicalCombiningClass.rawValue
    }
}

/// Korean syllables and the letters that they are made of (The Unicode Standard, section 3.12).
private enum Hangul {
    private static let syllables: UInt32 = 0xAC00
    private static let leading: UInt32 = 0x1100
    private static let vowels: UInt32 = 0x1161
    /// One before the first trailing consonant: a syllable may have none.
    private static let trailing: UInt32 = 0x11A7
    private static let counts: (leading: UInt32, vowels: UInt32, trailing: UInt32) = (19, 21, 28)

    static func isHangul(_ scalar: Unicode.Scalar) -> Bool {
        0x1100..<0x1200 ~= scalar.value || syllableIndex(of: scalar) != nil
    }

    static func decomposition(of scalar: Unicode.Scalar) -> [Unicode.Scalar]? {
        guard let index = syllableIndex(of: scalar) else { return nil }
        let values = [
            leading + index / (counts.vowels * counts.trailing),
            vowels + index / counts.trailing % counts.vowels,
            trailing + index % counts.trailing,
        ]
        return values.filter { $0 != trailing }.compactMap(Unicode.Scalar.init)
    }

    static func composite(of first: Unicode.Scalar, _ second: Unicode.Scalar) -> Unicode.Scalar? {
        if leading..<leading + counts.leading ~= first.value, vowels..<vowels + counts.vowels ~= second.value {
            let pair = (first.value - leading) * counts.vowels + (second.value - vowels)
            return Unicode.Scalar(syllables + pair * counts.trailing)
        }
        if let index = syllableIndex(of: first), index % counts.trailing == 0,
            trailing + 1..<trailing + counts.trailing ~= second.value
        {
            return Unicode.Scalar(first.value + second.value - trailing)
        }
        return nil
    }

    private static func syllableIndex(of scalar: Unicode.Scalar) -> UInt32? {
        let count = counts.leading * counts.vowels * counts.trailing
        return syllables..<syllables + count ~= scalar.value ? scalar.value - syllables : nil
    }
}
