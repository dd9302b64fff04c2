import ModelDescription
import Tokenization
@testable import LanguageModel
@testable import OneBitRuntime


/// Counts: after token n comes n + 1, with certainty.
struct CountingModel: CausalLanguageModel {
    let configuration: ModelConfiguration

    init(vocabulary: Int = 30, maximumPositions: Int = 64, endOfSequence: [Int] = []) throws {
        configuration = try ModelConfiguration(
            vocabularySize: vocabulary, hiddenSize: 8, intermediateSize: 8, layerCount: 1, attentionHeadCount: 1,
            maximumPositions: maximumPositions, tiedEmbeddings: true, beginOfSequence: nil,
            endOfSequence: endOfSequence)
    }

    func logits(of tokens: [Int]) throws -> [Float] { tokens.flatMap(logits(after:)) }

    func makeDecoder(contextLength: Int?) throws -> any TokenDecoder {
        let longest = configuration.maximumPositions
        return PredictingDecoder(model: self, contextLength: min(contextLength ?? longest, longest)) { tokens in
            (tokens.last! + 1) % configuration.vocabularySize
        }
    }

    private func logits(after token: Int) -> [Float] {
        (0..<configuration.vocabularySize).map { $0 == (token + 1) % configuration.vocabularySize ? 10 : 0 }
    }
}

/// A decoder of which a closure says what token comes next.
final class PredictingDecoder: TokenDecoder {
    let contextLength: Int
    var position: Int { tokens.count }
    private let model: any CausalLanguageModel
    private let next: ([Int]) throws -> Int
    private var tokens: [Int] = []
    private var isFed = false

    init(model: any CausalLanguageModel, contextLength: Int, next: @escaping ([Int]) throws -> Int) {
        self.model = model
        self.contextLength = contextLength
        self.next = next
    }

    func advance(by new: [Int]) throws {
        try model.check(new, at: position, contextLength: contextLength)
        tokens += new
        isFed = true
    }

    func withLogits<Result>(_ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
        guard isFed else { throw LanguageModelError.noTokens }
        var logits = [Float](repeating: 0, count: model.configuration.vocabularySize)
        logits[try next(tokens)] = 10
        return try logits.withUnsafeBufferPointer(body)
    }

    func rewind(to position: Int) {
        tokens.removeLast(tokens.count - position)
        isFed = false
    }
}

/// One letter a token: a, b, c, …
struct LetterTokenizer: Tokenizer {
    let vocabularySize = 30
    let beginOfSequence: Int? = nil
    let endOfSequence: Int? = nil

    func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
        text.unicodeScalars.map { Int($0.value) - 97 }
    }
    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { ids.compactMap(token(of:)).joined() }
    func id(of token: String) -> Int? { encode(token, addSpecialTokens: false).first }
    func token(of id: Int) -> String? { UnicodeScalar(97 + id).map { String(Character($0)) } }
}
