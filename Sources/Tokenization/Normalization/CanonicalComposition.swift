import Foundation

/// Unicode's canonical composition (NFC) of UTF-8.
///
/// Nearly all text is composed already, and Foundation is slow to find that out. So only the stretches that may change go
/// through it: a character that is never changed and never joins what comes before it separates two stretches.
enum CanonicalComposition {
    static func composed(_ text: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        var composedStretches = ComposedStretches()
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
                output.append(contentsOf: composedStretches[bytes[stretch..<position]])
                written = position
                mayChange = false
            }
            var lastClass: UInt8 = 0
            while position < bytes.count {
                if bytes[position] < 0x80 {
                    closeStretch()
                    (stretch, lastClass) = (position, 0)
                    position += 1
                    continue
                }
                let (scalar, length) = utf8Scalar(in: bytes, at: position)
                if separates(scalar) {
                    closeStretch()
                    (stretch, lastClass) = (position, 0)
                } else {
                    let ownClass = combiningClass(scalar)
                    if !isMarkThatStays(scalar) || ownClass < lastClass { mayChange = true }
                    lastClass = ownClass
                }
                position += length
            }
            closeStretch()
            if written > 0 { output.append(contentsOf: bytes[written...]) }
        }
        return output.isEmpty ? text : output
    }

    /// Whether a character is never changed by composition, unless by what follows it.
    private static func separates(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x300, 0x4E00...0x9FFF, 0xAC00...0xD7A3:  // Latin, Chinese, Korean
            return true
        case 0x1160..<0x1200, 0x16D63...0x16D6A:  // letters that join the one before: Korean, Kirat Rai
            return false
        case 0x09BE, 0x09D7, 0x0B3E, 0x0B56, 0x0B57, 0x0BBE, 0x0BD7, 0x0CC2, 0x0CD5, 0x0CD6, 0x0D3E, 0x0D57, 0x0DCF,
            0x0DDF:
            return false  // vowel signs that join the one before
        default:
            let properties = scalar.properties
            guard !properties.isFullCompositionExclusion, combiningClass(scalar) == 0 else { return false }
            switch properties.generalCategory {
            case .nonspacingMark, .spacingMark, .enclosingMark: return 0x0900..<0x0F00 ~= scalar.value
            default: return true
            }
        }
    }

    /// Marks of large scripts that no composition contains. In order of their classes they stay as they are.
    private static func isMarkThatStays(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x0591...0x05BD,  // Hebrew
            0x064B...0x0652,  // Arabic
            0x094D, 0x09CD, 0x0A4D, 0x0ACD, 0x0B4D, 0x0BCD, 0x0C4D, 0x0CCD, 0x0D4D,  // Indic viramas
            0x0E38...0x0E3A, 0x0E48...0x0E4B,  // Thai
            0x0EB8...0x0EBA, 0x0EC8...0x0ECB:  // Lao
            true
        default: false
        }
    }

    /// Composes by the algorithm of Unicode's Annex 15: decompose, order the marks, compose. Foundation serves as the
    /// table of single decompositions and compositions. Over longer text it gets some of them wrong (Swift 6.3 on Linux:
    /// U+0F73 after a mark, U+AC00 before U+11A8).
    fileprivate static func composedStretch(_ bytes: [UInt8]) -> [UInt8] {
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

/// Stretches that were composed before: decomposed text has the same few letters with their marks over and over.
private struct ComposedStretches {
    private static let maximumCount = 4096
    /// Longer stretches hardly come twice.
    private static let maximumBytes = 32

    private var known: [[UInt8]: [UInt8]] = [:]

    subscript(bytes: Slice<UnsafeBufferPointer<UInt8>>) -> [UInt8] {
        mutating get {
            let stretch = Array(bytes)
            if let composed = known[stretch] { return composed }
            let composed = CanonicalComposition.composedStretch(stretch)
            if known.count < Self.maximumCount, stretch.count <= Self.maximumBytes { known[stretch] = composed }
            return composed
        }
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
