/// How texts are cut into windows: protocol, length, and how much of them is looked at.
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
            "windows of \(length) tokens without overlap, tail dropped; in each the \(length - 1) tokens behind the first "
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
