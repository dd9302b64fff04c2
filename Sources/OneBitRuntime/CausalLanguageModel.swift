import ModelDescription

/// A model that predicts the next token: the packed model here, teacher and float student in `OneBitTraining`.
///
/// Evaluation and generation are written once, over this protocol.
public protocol CausalLanguageModel: Sendable {
    /// Shape of the model.
    var configuration: ModelConfiguration { get }

    /// Logits of every position of one sequence, row-major `[tokens.count, vocabularySize]`.
    func logits(of tokens: [Int]) throws -> [Float]

    /// How likely continuations of contexts are, in the order of the requests.
    ///
    /// - Throws: ``RuntimeError`` for a request that is empty somewhere, too long, or has tokens of another vocabulary.
    func scores(of requests: [ContinuationRequest]) throws -> [[ContinuationScore]]

    /// A decoding state with a key/value cache of its own.
    ///
    /// - Parameter contextLength: positions that it has room for, at most the model's own; nil is as many as these.
    func makeDecoder(contextLength: Int?) throws -> any TokenDecoder
}

extension CausalLanguageModel {
    /// A decoding state with room for the model's whole context.
    public func makeDecoder() throws -> any TokenDecoder { try makeDecoder(contextLength: nil) }
}

/// One sequence that grows: feeds tokens to a model and keeps their keys and values.
public protocol TokenDecoder: AnyObject {
    /// Tokens fed so far.
    var position: Int { get }
    /// Tokens that there is room for.
    var contextLength: Int { get }

    /// Feeds `tokens`; ``withLogits(_:)`` then gives what follows the last of them.
    func advance(by tokens: [Int]) throws

    /// Calls `body` with the logits that follow the last token, `[vocabularySize]`, valid during the call.
    ///
    /// - Throws: ``RuntimeError/noTokens`` before the first token and after ``rewind(to:)``, and what `body` throws.
    func withLogits<Result>(_ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result

    /// Forgets the tokens from `position` on. The next tokens take their places.
    func rewind(to position: Int)
}
