/// Where a piece of text comes from.
public enum Origin: Sendable, Hashable {
    /// The template itself, or a variable that is as trusted as the template is: a special token of the model.
    case template
    /// A message, a tool, a document: text in which nothing may count as a control token.
    case input
}

/// A string as Python has it, a sequence of code points, that remembers where its parts come from.
///
/// Code points and not `Character`s, because lengths, indices and slices are counted in these; numbers and not
/// `Unicode.Scalar`s, because Python's strings may hold half of a surrogate pair. Equality and order are those of the code
/// points: two spellings of "é" are two strings.
struct TemplateString {
    private(set) var codePoints: [UInt32]
    /// Where the first code point comes from.
    private var firstOrigin: Origin
    /// The positions, ascending, at which the origin changes from one to the other.
    private var changes: [Int]
    /// Whether the text is HTML already: `Markup` of Python's markupsafe.
    var isMarkup = false

    init(_ codePoints: [UInt32] = [], origin: Origin = .template) {
        self.codePoints = codePoints
        firstOrigin = origin
        changes = []
    }

    init(_ text: some StringProtocol, origin: Origin = .template) {
        self.init(text.unicodeScalars.map(\.value), origin: origin)
    }

    var count: Int { codePoints.count }
    var isEmpty: Bool { codePoints.isEmpty }

    /// The text; halves of surrogate pairs, which it cannot hold, become U+FFFD.
    var text: String { Self.text(of: codePoints[...]) }

    static func text(of codePoints: ArraySlice<UInt32>) -> String {
        var text = ""
        text.unicodeScalars.append(contentsOf: codePoints.lazy.map { Unicode.Scalar($0) ?? "\u{FFFD}" })
        return text
    }

    /// Where a code point comes from.
    func origin(at position: Int) -> Origin {
        guard !changes.isEmpty else { return firstOrigin }
        var low = 0
        var high = changes.count
        while low < high {
            let middle = (low + high) / 2
            if changes[middle] <= position { low = middle + 1 } else { high = middle }
        }
        return low.isMultiple(of: 2) ? firstOrigin : firstOrigin.other
    }

    /// The text in pieces, each of one origin.
    var parts: [(text: String, origin: Origin)] {
        var parts: [(String, Origin)] = []
        forEachRun(in: 0..<count) { range, origin in parts.append((Self.text(of: codePoints[range]), origin)) }
        return parts
    }

    /// Goes over the pieces of one origin each of a range.
    private func forEachRun(in range: Range<Int>, _ body: (Range<Int>, Origin) -> Void) {
        guard !range.isEmpty else { return }
        guard !changes.isEmpty else { return body(range, firstOrigin) }
        var start = range.lowerBound
        var origin = origin(at: start)
        for change in changes where change > start {
            guard change < range.upperBound else { break }
            body(start..<change, origin)
            start = change
            origin = origin.other
        }
        body(start..<range.upperBound, origin)
    }

    /// The origin of everything that is appended from here on: notes a change where it is another than that of the end.
    private mutating func mark(_ origin: Origin) {
        if codePoints.isEmpty {
            firstOrigin = origin
        } else if origin != (changes.count.isMultiple(of: 2) ? firstOrigin : firstOrigin.other) {
            changes.append(codePoints.count)
        }
    }

    mutating func append(_ codePoint: UInt32, origin: Origin) {
        mark(origin)
        codePoints.append(codePoint)
    }

    mutating func append(_ text: String, origin: Origin) {
        guard !text.isEmpty else { return }
        mark(origin)
        codePoints.append(contentsOf: text.unicodeScalars.lazy.map(\.value))
    }

    mutating func append(_ other: TemplateString) {
        guard !other.isEmpty else { return }
        if other.changes.isEmpty {
            mark(other.firstOrigin)
            codePoints.append(contentsOf: other.codePoints)
        } else {
            append(other, range: 0..<other.count)
        }
    }

    /// Appends a part of another string.
    mutating func append(_ other: TemplateString, range: Range<Int>) {
        other.forEachRun(in: range) { run, origin in
            mark(origin)
            codePoints.append(contentsOf: other.codePoints[run])
        }
    }

    /// The part of a range, which has to lie inside.
    subscript(range: Range<Int>) -> TemplateString {
        if range == 0..<count { return self }
        var part = TemplateString()
        part.append(self, range: range)
        part.isMarkup = isMarkup
        return part
    }

    /// The code point at a position, as a string.
    func character(at position: Int) -> TemplateString {
        var part = TemplateString([codePoints[position]], origin: origin(at: position))
        part.isMarkup = isMarkup
        return part
    }

    /// Each code point as a string.
    var characters: [TemplateString] { (0..<count).map(character) }

    /// Replaces each code point by others, which have its origin.
    func mapped(_ transform: (_ position: Int, _ codePoint: UInt32) throws -> [UInt32]) rethrows -> TemplateString {
        var result = TemplateString()
        result.isMarkup = isMarkup
        result.codePoints.reserveCapacity(count)
        try forEachCodePoint { position, codePoint, origin in
            let replacement = try transform(position, codePoint)
            guard !replacement.isEmpty else { return }
            result.mark(origin)
            result.codePoints.append(contentsOf: replacement)
        }
        return result
    }

    /// Goes over the code points with their origins.
    func forEachCodePoint(_ body: (_ position: Int, _ codePoint: UInt32, _ origin: Origin) throws -> Void) rethrows {
        var origin = firstOrigin
        var next = 0
        for (position, codePoint) in codePoints.enumerated() {
            if next < changes.count, changes[next] == position {
                origin = origin.other
                next += 1
            }
            try body(position, codePoint, origin)
        }
    }

    /// The strings one behind the other, with a separator between them.
    static func joined(_ strings: [TemplateString], separator: TemplateString) -> TemplateString {
        var result = TemplateString()
        for (index, string) in strings.enumerated() {
            if index > 0 { result.append(separator) }
            result.append(string)
        }
        return result
    }
}

extension Origin {
    fileprivate var other: Origin { self == .template ? .input : .template }
}

extension TemplateString: Hashable {
    static func == (left: TemplateString, right: TemplateString) -> Bool { left.codePoints == right.codePoints }

    func hash(into hasher: inout Hasher) { hasher.combine(codePoints) }
}

extension TemplateString: Comparable {
    static func < (left: TemplateString, right: TemplateString) -> Bool {
        left.codePoints.lexicographicallyPrecedes(right.codePoints)
    }
}

extension TemplateString: ExpressibleByStringLiteral {
    init(stringLiteral text: String) { self.init(text) }
}

// MARK: Searching

extension TemplateString {
    /// The first place of `other` in a range.
    func firstIndex(of other: TemplateString, in range: Range<Int>) -> Int? {
        guard other.count <= range.count else { return nil }
        guard let first = other.codePoints.first else { return range.lowerBound }
        return codePoints.withUnsafeBufferPointer { text in
            other.codePoints.withUnsafeBufferPointer { pattern in
                var position = range.lowerBound
                let last = range.upperBound - pattern.count
                while position <= last {
                    if text[position] == first, Self.matches(text, pattern, at: position) { return position }
                    position += 1
                }
                return nil
            }
        }
    }

    /// The last place of `other` in a range.
    func lastIndex(of other: TemplateString, in range: Range<Int>) -> Int? {
        guard other.count <= range.count else { return nil }
        return codePoints.withUnsafeBufferPointer { text in
            other.codePoints.withUnsafeBufferPointer { pattern in
                var position = range.upperBound - pattern.count
                while position >= range.lowerBound {
                    if Self.matches(text, pattern, at: position) { return position }
                    position -= 1
                }
                return nil
            }
        }
    }

    private static func matches(
        _ text: UnsafeBufferPointer<UInt32>, _ pattern: UnsafeBufferPointer<UInt32>, at position: Int
    ) -> Bool {
        for offset in 0..<pattern.count where text[position + offset] != pattern[offset] { return false }
        return true
    }

    func contains(_ other: TemplateString) -> Bool { firstIndex(of: other, in: 0..<count) != nil }

    func hasPrefix(_ other: TemplateString) -> Bool { codePoints.starts(with: other.codePoints) }

    func hasSuffix(_ other: TemplateString) -> Bool {
        count >= other.count && codePoints[(count - other.count)...].elementsEqual(other.codePoints)
    }

    /// The places of `other` that do not overlap, as many as `limit`.
    func ranges(of other: TemplateString, limit: Int = .max) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start = 0
        while ranges.count < limit, start <= count, let found = firstIndex(of: other, in: start..<count) {
            ranges.append(found..<found + other.count)
            // The empty string is found between all code points.
            start = found + max(1, other.count)
        }
        return ranges
    }

    /// The range without the code points at its ends that are in a set.
    func trimmedRange(left: Bool = true, right: Bool = true, _ isTrimmed: (UInt32) -> Bool) -> Range<Int> {
        var start = 0
        var end = count
        if left { while start < end, isTrimmed(codePoints[start]) { start += 1 } }
        if right { while end > start, isTrimmed(codePoints[end - 1]) { end -= 1 } }
        return start..<end
    }
}
