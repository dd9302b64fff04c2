/// What becomes of the matches when a text is split by a pattern.
enum SplitBehavior: String, Sendable, CaseIterable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// Appends the pieces of `range`, of which `matches` are the parts that match, in order.
    func appendPieces(of range: Range<Int>, matches: [Range<Int>], inverted: Bool, to pieces: inout [Range<Int>]) {
        var spans: [(range: Range<Int>, isMatch: Bool)] = []
        spans.reserveCapacity(matches.count)
        var position = range.lowerBound
        for match in matches {
            if position < match.lowerBound { spans.append((position..<match.lowerBound, inverted)) }
            spans.append((match, !inverted))
            position = match.upperBound
        }
        if position < range.upperBound { spans.append((position..<range.upperBound, inverted)) }

        switch self {
        case .removed: for span in spans where !span.isMatch { pieces.append(span.range) }
        case .isolated: for span in spans { pieces.append(span.range) }
        case .contiguous: join(spans, into: &pieces) { $0 == $1 }
        case .mergedWithPrevious: join(spans, into: &pieces) { wasMatch, isMatch in isMatch && !wasMatch }
        case .mergedWithNext: join(spans, into: &pieces) { wasMatch, isMatch in wasMatch && !isMatch }
        }
    }

    /// Appends spans, joined with the one before where `joins(wasMatch, isMatch)` says so.
    private func join(
        _ spans: [(range: Range<Int>, isMatch: Bool)],
        into pieces: inout [Range<Int>],
        joins: (_ wasMatch: Bool, _ isMatch: Bool) -> Bool
    ) {
        var wasMatch: Bool?
        for span in spans {
            if let wasMatch, joins(wasMatch, span.isMatch), let last = pieces.popLast() {
                pieces.append(last.lowerBound..<span.range.upperBound)
            } else {
                pieces.append(span.range)
            }
            wasMatch = span.isMatch
        }
    }
}
