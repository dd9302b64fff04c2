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
