/// How many tokens of prompts a pass reads. Each weight is read once for all of them, but a pass is also what texts under way and new
/// requests wait for, so it takes no longer than a fifth of a second where that is possible.
///
/// On a CPU a few rows are as fast as many: a packed model of 7B parameters reads 16 tokens a pass at the rate of 128.
struct PromptChunk {
    /// More tokens make a pass no more efficient.
    private static let largest = 128
    private static let smallest = 8
    private static let longestPass = Duration.milliseconds(200)
    /// A pass of twice the tokens of one that takes less than this is still short enough.
    private static let shortPass = Duration.milliseconds(75)
    /// A pass of these takes about as long as may be waited for, on two cores.
    private static let parametersTimesTokens = 16 << 30

    /// Most tokens that it may become.
    let maximum: Int
    private(set) var size: Int

    init(parameterCount: Int, maximum: Int) {
        self.maximum = max(1, min(Self.largest, maximum))
        let estimate = max(Self.smallest, min(Self.parametersTimesTokens / max(1, parameterCount), Self.largest))
        // A power of two: what is computed depends on the model alone as long as passes take the time that they should.
        size = min(self.maximum, 1 << (Int.bitWidth - 1 - estimate.leadingZeroBitCount))
    }

    /// Halves the chunk after a pass that took too long, and doubles it after one that was short.
    ///
    /// - Parameter tokens: how many the pass computed; fewer than a chunk say nothing.
    mutating func adapt(to time: Duration, tokens: Int) {
        guard tokens >= size else { return }
        if time > Self.longestPass, size > Self.smallest {
            size /= 2
        } else if time < Self.shortPass, size < maximum {
            size = min(maximum, size * 2)
        }
    }
}
