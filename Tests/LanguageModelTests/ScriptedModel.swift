import ModelDescription
import Synchronization
import TestSupport
import Tokenization

@testable import LanguageModel

/// Answers by a script, by how many answers stand in the conversation; keeps the tokens that it decodes.
final class ScriptedModel: CausalLanguageModel {
    let configuration: ModelConfiguration
    /// Called before each token is chosen, with its number in the answer.
    private let beforeToken: @Sendable (Int) throws -> Void
    private let answers: [String]
    private let log = Mutex<[[Int]]>([])

    init(
        _ answers: [String], maximumPositions: Int = 1000,
        beforeToken: @escaping @Sendable (Int) throws -> Void = { _ in }
    ) throws {
        self.answers = answers
        self.beforeToken = beforeToken
        configuration = try ModelConfiguration(
            vocabularySize: ChatTokenizer().vocabularySize, hiddenSize: 8, intermediateSize: 8, layerCount: 1,
            attentionHeadCount: 1, maximumPositions: maximumPositions, tiedEmbeddings: true)
    }

    /// Tokens of each slice, of all contexts.
    var decodedTokens: [[Int]] { log.withLock { $0 } }

    func logits(of tokens: [Int]) throws -> [Float] { [] }

    func cacheByteCount(positions: Int) -> Int { positions }

    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        PredictingContext(
            limits: limits, vocabularySize: configuration.vocabularySize,
            willDecode: { batch in
                self.log.withLock { log in log += batch.slices.map { Array(batch.tokens[$0.rows]) } }
            },
            next: { try self.next(after: $0) })
    }

    private func next(after tokens: [Int]) throws -> Int {
        let heading = [ChatTokenizer.start] + ChatTokenizer().encode("assistant\n", addSpecialTokens: false)
        let starts = tokens.indices.filter { tokens[$0...].starts(with: heading) }
        let count = tokens.count - starts.last! - heading.count
        try beforeToken(count)
        let answer = ChatTokenizer().encode(answers[starts.count - 1], addSpecialTokens: false)
        return count < answer.count ? answer[count] : ChatTokenizer.end
    }
}
