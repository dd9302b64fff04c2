/// A text as tokens, ready to be cut into windows.
public struct TokenizedText: Sendable, Hashable {
    /// What it is called in print.
    public let name: String
    /// Its pieces; no window reaches from one into the next.
    public let sequences: [[Int]]
    /// Token that takes the place of every window's first, where the placement of beginning-of-sequence tokens asks for it.
    public let windowBegin: Int?
    /// How much text its tokens spell, where all but the first of each sequence are text.
    public let extent: TextExtent?

    /// - Parameters:
    ///   - name: what it is called in print.
    ///   - sequences: its pieces.
    ///   - windowBegin: token that takes the place of every window's first; nil leaves that as it is.
    ///   - extent: nil where tokens other than the sequences' first are not the text's own.
    public init(name: String, sequences: [[Int]], windowBegin: Int? = nil, extent: TextExtent? = nil) {
        self.name = name
        self.sequences = sequences
        self.windowBegin = windowBegin
        self.extent = extent
    }

    /// Tokens of all sequences.
    public var tokenCount: Int { sequences.reduce(0) { $0 + $1.count } }

    /// Tokens that a figure must count once each, and no others, for it to be one of the whole text.
    var textTokenCount: Int { sequences.reduce(0) { $0 + max(0, $1.count - 1) } }

    /// What a model reads in a window, and the tokens that it has to predict at its end.
    func tokens(of window: TokenWindow, in sequence: Int) -> (context: [Int], scored: ArraySlice<Int>) {
        let tokens = sequences[sequence][window.range]
        var context = Array(tokens.dropLast(window.scoredCount))
        if let windowBegin { context[0] = windowBegin }
        return (context, tokens.suffix(window.scoredCount))
    }
}
