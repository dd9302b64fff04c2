/// What Python says of a code point.
enum CodePoint {
    /// Python's `str.isspace`: Unicode's white space, and the separators U+001C to U+001F.
    static func isSpace(_ codePoint: UInt32) -> Bool {
        switch codePoint {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// What ends a line for `str.splitlines`.
    static func isLineEnd(_ codePoint: UInt32) -> Bool {
        switch codePoint {
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
        default: false
        }
    }

    static func isASCIILetter(_ codePoint: UInt32) -> Bool {
        0x41...0x5A ~= codePoint || 0x61...0x7A ~= codePoint
    }

    static func isASCIIDigit(_ codePoint: UInt32) -> Bool { 0x30...0x39 ~= codePoint }

    /// Whether `repr` shows it as it is.
    static func isPrintable(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x7F { return codePoint >= 0x20 }
        guard let scalar = Unicode.Scalar(codePoint) else { return false }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            return false
        default: return true
        }
    }

    static func isAlphabetic(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return isASCIILetter(codePoint) }
        switch Unicode.Scalar(codePoint)?.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return true
        default: return false
        }
    }

    static func isDecimal(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return isASCIIDigit(codePoint) }
        return Unicode.Scalar(codePoint)?.properties.numericType == .decimal
    }

    static func isDigit(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return isASCIIDigit(codePoint) }
        let type = Unicode.Scalar(codePoint)?.properties.numericType
        return type == .decimal || type == .digit
    }

    static func isNumeric(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return isASCIIDigit(codePoint) }
        return Unicode.Scalar(codePoint)?.properties.numericType != nil
    }

    static func isAlphanumeric(_ codePoint: UInt32) -> Bool { isAlphabetic(codePoint) || isNumeric(codePoint) }

    /// A regular expression's `\w`.
    static func isWord(_ codePoint: UInt32) -> Bool { codePoint == 0x5F || isAlphanumeric(codePoint) }

    /// The value of a decimal digit of any script.
    static func decimalValue(_ codePoint: UInt32) -> UInt32? {
        if codePoint < 0x80 { return isASCIIDigit(codePoint) ? codePoint - 0x30 : nil }
        guard let properties = Unicode.Scalar(codePoint)?.properties, properties.numericType == .decimal else {
            return nil
        }
        return properties.numericValue.map { UInt32($0) }
    }

    static func isIdentifierStart(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return codePoint == 0x5F || isASCIILetter(codePoint) }
        return Unicode.Scalar(codePoint)?.properties.isXIDStart == true
    }

    static func isIdentifierPart(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return isWord(codePoint) }
        return Unicode.Scalar(codePoint)?.properties.isXIDContinue == true
    }

    static func isUppercase(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return 0x41...0x5A ~= codePoint }
        return Unicode.Scalar(codePoint)?.properties.isUppercase == true
    }

    static func isLowercase(_ codePoint: UInt32) -> Bool {
        if codePoint < 0x80 { return 0x61...0x7A ~= codePoint }
        return Unicode.Scalar(codePoint)?.properties.isLowercase == true
    }

    static func isTitlecase(_ codePoint: UInt32) -> Bool {
        Unicode.Scalar(codePoint)?.properties.generalCategory == .titlecaseLetter
    }

    static func isCased(_ codePoint: UInt32) -> Bool {
        isUppercase(codePoint) || isLowercase(codePoint) || isTitlecase(codePoint)
    }

    static func uppercased(_ codePoint: UInt32) -> [UInt32] {
        if codePoint < 0x80 { return [0x61...0x7A ~= codePoint ? codePoint - 0x20 : codePoint] }
        return Unicode.Scalar(codePoint)?.properties.uppercaseMapping.unicodeScalars.map(\.value) ?? [codePoint]
    }

    static func titlecased(_ codePoint: UInt32) -> [UInt32] {
        if codePoint < 0x80 { return uppercased(codePoint) }
        return Unicode.Scalar(codePoint)?.properties.titlecaseMapping.unicodeScalars.map(\.value) ?? [codePoint]
    }

    static func lowercased(_ codePoint: UInt32) -> [UInt32] {
        if codePoint < 0x80 { return [0x41...0x5A ~= codePoint ? codePoint + 0x20 : codePoint] }
        return Unicode.Scalar(codePoint)?.properties.lowercaseMapping.unicodeScalars.map(\.value) ?? [codePoint]
    }
}

// MARK: Case

extension TemplateString {
    var uppercased: TemplateString { mapped { CodePoint.uppercased($1) } }

    var lowercased: TemplateString { mapped { lowercase(at: $0, $1) } }

    /// The first code point in title case, the others in lower case.
    var capitalized: TemplateString {
        mapped { position, codePoint in
            position == 0 ? CodePoint.titlecased(codePoint) : lowercase(at: position, codePoint)
        }
    }

    /// Python's `str.title`: a cased code point behind one that is not cased begins a word.
    var titlecased: TemplateString {
        var followsCased = false
        return mapped { position, codePoint in
            defer { followsCased = CodePoint.isCased(codePoint) }
            return followsCased ? lowercase(at: position, codePoint) : CodePoint.titlecased(codePoint)
        }
    }

    var caseSwapped: TemplateString {
        mapped { position, codePoint in
            if CodePoint.isUppercase(codePoint) { return lowercase(at: position, codePoint) }
            return CodePoint.isLowercase(codePoint) ? CodePoint.uppercased(codePoint) : [codePoint]
        }
    }

    /// The lower case of a code point, which for a sigma at the end of a word is another.
    private func lowercase(at position: Int, _ codePoint: UInt32) -> [UInt32] {
        guard codePoint == 0x3A3 else { return CodePoint.lowercased(codePoint) }
        let before = codePoints[..<position].last { !Self.isCaseIgnorable($0) }
        let after = codePoints[(position + 1)...].first { !Self.isCaseIgnorable($0) }
        let isFinal = before.map(CodePoint.isCased) == true && after.map(CodePoint.isCased) != true
        return [isFinal ? 0x3C2 : 0x3C3]
    }

    private static func isCaseIgnorable(_ codePoint: UInt32) -> Bool {
        Unicode.Scalar(codePoint)?.properties.isCaseIgnorable == true
    }
}
