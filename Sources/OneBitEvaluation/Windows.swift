import Foundation

/// How a sequence of tokens is cut into windows, and which tokens of a window are scored.
///
/// A model has a context of so many tokens and a text has more. What a token is predicted from therefore depends on where
/// the cuts are, and so does the perplexity: figures compare within one protocol only.
public enum WindowProtocol: Sendable, Hashable {
    /// GPTQ's, which OneBit and most papers on quantization use: windows do not overlap, the tail is dropped, and every
    /// token of a window but its first is scored.
    case separate
    /// Hugging Face's sliding window: a window begins every `stride` tokens, the last one ends with the text, and a window
    /// scores the tokens that none before it has scored.
    case strided(stride: Int)
    /// `loglikelihood_rolling` of EleutherAI's lm-evaluation-harness: a window of N tokens predicts the N tokens behind its
    /// first; the next begins with the last of these; the last window is moved left until it is full, and scores what is
    /// left. Every token of a text is scored once.
    case rolling
    /// llama.cpp's: as ``separate``, but only the tokens of a window's second half are scored, so that each is predicted
    /// from half a window at least.
    case secondHalf

    /// The windows of a sequence of `count` tokens.
    ///
    /// - Parameter length: tokens that a model reads at once.
    func windows(of count: Int, length: Int) -> [TokenWindow] {
        switch self {
        case .separate: separate(count, length) { $0 - 1 }
        case .secondHalf: separate(count, length) { $0 - 1 - $0 / 2 }
        case .strided(let stride): strided(count, length, stride)
        case .rolling: rolling(count, length)
        }
    }

    private func separate(_ count: Int, _ length: Int, scored: (Int) -> Int) -> [TokenWindow] {
        (0..<count / length).map {
            TokenWindow(range: $0 * length..<($0 + 1) * length, scoredCount: scored(length))
        }
    }

    private func strided(_ count: Int, _ length: Int, _ stride: Int) -> [TokenWindow] {
        var windows: [TokenWindow] = []
        var (begin, end) = (0, 0)
        while end < count {
            let scoredBefore = end
            end = min(begin + length, count)
            // A window's first token has nothing to be predicted from.
            let scoredCount = end - max(scoredBefore, begin + 1)
            if scoredCount > 0 { windows.append(TokenWindow(range: begin..<end, scoredCount: scoredCount)) }
            begin += stride
        }
        return windows
    }

    private func rolling(_ count: Int, _ length: Int) -> [TokenWindow] {
        var windows: [TokenWindow] = []
        var end = min(1, count)
        while end < count {
            let scoredCount = min(length, count - end)
            end += scoredCount
            // The last token is predicted and not read, so a window spans one token more than the model reads.
            windows.append(TokenWindow(range: max(0, end - length - 1)..<end, scoredCount: scoredCount))
        }
        return windows
    }
}

/// A part of a sequence that a model reads, and the end of it that is scored.
struct TokenWindow: Sendable, Hashable {
    /// Its tokens' places in the sequence.
    let range: Range<Int>
    /// Tokens at its end that are scored; those before are context.
    let scoredCount: Int
}

/// How texts are cut into windows: protocol, length, and how many are evaluated.
public struct WindowPlan: Sendable, Hashable {
    public let windowProtocol: WindowProtocol
    /// Tokens that a model reads at once.
    public let length: Int
    /// Most windows to evaluate of each file, from the front; nil for all.
    public let limit: Int?

    /// - Throws: ``WindowError/windowTooShort(window:minimum:)``, ``WindowError/invalidStride(stride:window:)``,
    ///   ``WindowError/invalidLimit(limit:)``
    public init(_ windowProtocol: WindowProtocol = .separate, length: Int, limit: Int? = nil) throws {
        // The least that leaves a window one prediction.
        let minimum =
            switch windowProtocol {
            case .rolling: 1
            case .separate, .strided: 2
            case .secondHalf: 3
            }
        guard length >= minimum else { throw WindowError.windowTooShort(window: length, minimum: minimum) }
        if case .strided(let stride) = windowProtocol {
            guard (1...length).contains(stride) else { throw WindowError.invalidStride(stride: stride, window: length) }
        }
        if let limit, limit < 1 { throw WindowError.invalidLimit(limit: limit) }
        self.windowProtocol = windowProtocol
        self.length = length
        self.limit = limit
    }

    /// Windows that `text` has: what an evaluation will take.
    public func windowCount(of text: TokenizedText) -> Int { cut(text).count }

    /// The windows of `text`, each with the sequence that it is cut from.
    ///
    /// - Parameter maximum: the context of the models that are to read them.
    /// - Throws: ``WindowError/windowTooLong(window:maximum:)``, ``WindowError/textTooShort(text:tokens:window:)``
    func windows(of text: TokenizedText, maximum: Int) throws -> [(sequence: Int, window: TokenWindow)] {
        guard length <= maximum else { throw WindowError.windowTooLong(window: length, maximum: maximum) }
        let windows = cut(text)
        guard !windows.isEmpty else {
            throw WindowError.textTooShort(text: text.name, tokens: text.tokenCount, window: length)
        }
        return windows
    }

    private func cut(_ text: TokenizedText) -> [(sequence: Int, window: TokenWindow)] {
        var windows: [(sequence: Int, window: TokenWindow)] = []
        for (index, sequence) in text.sequences.enumerated() {
            windows += windowProtocol.windows(of: sequence.count, length: length).map { (index, $0) }
            if let limit, windows.count >= limit { return Array(windows.prefix(limit)) }
        }
        return windows
    }

    /// What is predicted from what, to be printed with a figure.
    public var definition: String {
        switch windowProtocol {
        case .separate:
            "windows of \(length) tokens without overlap, tail dropped; in each the \(length - 1) tokens after the first "
                + "are predicted (GPTQ's protocol)"
        case .strided(let stride):
            "windows of \(length) tokens, one every \(stride); each predicts the tokens that none before it has predicted "
                + "(sliding window)"
        case .rolling:
            "each text by itself behind one token; windows of \(length) tokens that predict the \(length) behind their "
                + "first, the last moved left until it is full; every token of a text is predicted once (lm-eval's "
                + "loglikelihood_rolling)"
        case .secondHalf:
            "windows of \(length) tokens without overlap, tail dropped; in each the last \(length - 1 - length / 2) tokens "
                + "are predicted (llama.cpp's protocol)"
        }
    }
}

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

/// What cannot be cut into windows.
public enum WindowError: LocalizedError, Sendable, Equatable {
    /// A window without a prediction.
    case windowTooShort(window: Int, minimum: Int)
    /// A window that a model has no positions for.
    case windowTooLong(window: Int, maximum: Int)
    /// Windows that leave tokens out between them, or never end.
    case invalidStride(stride: Int, window: Int)
    /// Not one window.
    case textTooShort(text: String, tokens: Int, window: Int)
    /// A limit that leaves nothing.
    case invalidLimit(limit: Int)

    public var errorDescription: String? {
        switch self {
        case .windowTooShort(let window, let minimum):
            "A window of \(window) tokens holds no prediction; it needs \(minimum) or more."
        case .windowTooLong(let window, let maximum):
            "A window of \(window) tokens is longer than the model's context of \(maximum). Choose a shorter window."
        case .invalidStride(let stride, let window):
            "A stride of \(stride) does not suit windows of \(window) tokens; it must lie between 1 and \(window)."
        case .textTooShort(let text, let tokens, let window):
            "\(text) has \(tokens) tokens, fewer than one window of \(window). Give more text or a shorter window."
        case .invalidLimit(let limit):
            "The limit of \(limit) windows leaves nothing to evaluate; it must be 1 or more."
        }
    }
}
