import Foundation
import ModelDescription
import Synchronization
import TensorFiles
import Tokenization
@testable import LanguageModel
@testable import OneBitRuntime


/// A token for each printable ASCII character and the line end, and the two marks of ChatML.
struct ChatTokenizer: Tokenizer {
    static let start = 0
    static let end = 1
    private static let marks = ["<|im_start|>", "<|im_end|>"]
    private static let characters = ["\n"] + (32...126).map { String(UnicodeScalar(UInt8($0))) }

    let vocabularySize = marks.count + characters.count
    let beginOfSequence: Int? = nil
    let endOfSequence: Int? = nil

    func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
        text.map { id(of: String($0)) ?? 2 }
    }
    func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String {
        ids.filter { !skipSpecialTokens || $0 >= Self.marks.count }.compactMap(token(of:)).joined()
    }
    func id(of token: String) -> Int? {
        Self.marks.firstIndex(of: token) ?? Self.characters.firstIndex(of: token).map { $0 + Self.marks.count }
    }
    func token(of id: Int) -> String? { (Self.marks + Self.characters)[id] }
}

/// Answers by a script, by how many answers stand in the conversation; keeps what it was fed.
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

    /// Tokens of each feeding, all decoders'.
    var feedings: [[Int]] { log.withLock { $0 } }

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
        let spoken = tokens.count - starts.last! - heading.count
        try beforeToken(spoken)
        let answer = ChatTokenizer().encode(answers[starts.count - 1], addSpecialTokens: false)
        return spoken < answer.count ? answer[spoken] : ChatTokenizer.end
    }
}

extension ChatTemplate {
    /// The template of a directory that has this one, and `<s>` and `</s>`.
    static func written(_ template: String) throws -> ChatTemplate {
        let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-chat-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let config = ["chat_template": template, "bos_token": "<s>", "eos_token": "</s>"]
        try JSONEncoder().encode(config).write(to: directory.appending(path: "tokenizer_config.json"))
        return try ChatTemplate(directory: directory)
    }

    static func chatML() throws -> ChatTemplate {
        try written(
            """
            {% for message in messages %}\
            {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}\
            {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
            """)
    }
}

extension ModelContainer {
    /// A model that speaks ChatML.
    static func chatML(_ model: any CausalLanguageModel) throws -> ModelContainer {
        ModelContainer(model: model, tokenizer: ChatTokenizer(), chatTemplate: try .chatML())
    }
}
