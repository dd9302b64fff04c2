/// How a sequence of tokens is cut into windows, and which tokens of a window are scored.
///
/// A model has a context of so many tokens and a text has more. What a token is predicted from therefore depends on where
/// the cuts are, and so does the perplexity: figures compare within one protocol only.
public enum WindowProtocol: Sendable, Hashable {
    /// GPTQ's, which OneBit and most papers on quantisation use: windows do not overlap, the tail is dropped, and every
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
