import Foundation
import ModelDescription
import OneBitRuntime
import TensorFiles
import TestSupport
import Tokenization

/// A packed model of random weights that speaks ChatML, in a directory that goes away with it. Its answers are nonsense
/// that never ends.
final class ChatModel {
    private let folder: TemporaryDirectory
    var directory: URL { folder.url }

    static let chatML = """
        {% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    init(template: String? = chatML) throws {
        folder = try TemporaryDirectory()
        let directory = folder.url
        try BytePairTrainer.train(texts: ["a story"], vocabularySize: 260).write(
            to: directory.appending(path: "tokenizer.json"))
        let configuration = try ModelConfiguration(
            vocabularySize: 260, hiddenSize: 64, intermediateSize: 64, layerCount: 1, attentionHeadCount: 1,
            maximumPositions: 200_000, tiedEmbeddings: true, endOfSequence: [])
        try RandomCheckpoint.write(configuration, to: directory)
        if let template { try folder.write(template, as: "chat_template.jinja") }
    }
}
