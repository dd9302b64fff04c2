import ModelFiles

/// A model that predicts the next token: the packed model here, teacher and float student in `OneBitTraining`.
///
/// Evaluation and generation are written once, over this protocol.
public protocol CausalLanguageModel: Sendable {
    /// Shape of the model.
    var configuration: ModelConfiguration { get }

    /// Logits of every position of one sequence, row-major `[tokens.count, vocabularySize]`.
    func logits(of tokens: [Int]) throws -> [Float]

    /// A decoding state with a key/value cache of its own.
    func makeDecoder() throws -> any TokenDecoder
}

/// One sequence that grows: feeds tokens to a model and keeps their keys and values.
public protocol TokenDecoder: AnyObject {
    /// Tokens fed so far.
    var position: Int { get }

    /// Feeds `tokens` and returns the logits that follow the last of them, `[vocabularySize]`.
    func advance(by tokens: [Int]) throws -> [Float]
}
