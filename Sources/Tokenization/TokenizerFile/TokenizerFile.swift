import Foundation
import JSON
import ModelDescription
import TensorFiles

extension BytePairTokenizer {
    /// Reads a `tokenizer.json` in the format of Hugging Face's `tokenizers`, with a BPE model.
    ///
    /// BOS and EOS are those that `tokenizer_config.json` or `special_tokens_map.json` beside it name; where neither
    /// does, the first and the last special token of the post-processor's template. What is put around a text, the
    /// template alone decides: `add_bos_token` counts only where there is no `tokenizer.json`, as in transformers 5.
    ///
    /// `truncation` and `padding` are not looked at: they shape batches, and a language model gets whole texts.
    ///
    /// - Throws: `TokenizerError`, naming file and key.
    public init(contentsOf url: URL) throws {
        var modelReader = BytePairModelReader(file: url.path)
        let parts = try withJSONReader(of: try readTokenizerFile(at: url), file: url.path) { reader in
            var parts = JSONObject()
            var hasModel = false
            try reader.readObject { reader, key in
                let key = try reader.text(of: key)
                if key == "model", try reader.peekKind() == .object, !hasModel {
                    hasModel = true
                    try modelReader.read(&reader)
                } else {
                    parts[key] = try reader.readValue(duplicateKeys: .lastCounts)
                }
            }
            try reader.readEnd()
            guard hasModel else {
                throw TokenizerError.malformed(file: url.path, key: "model", reason: "missing")
            }
            return JSONNode(file: url.path, path: "", value: .object(parts))
        }

        let normalizer = try Normalizer(parts["normalizer"])
        let preTokenizer = try PreTokenizer(parts["pre_tokenizer"])
        let postProcessor = try PostProcessor(parts["post_processor"])
        let model = try modelReader.makeModel(unit: preTokenizer?.isByteLevel == true ? .bytes : .scalars)
        let addedTokens = try AddedTokens(
            checking: try AddedTokenEntry.entries(parts["added_tokens"]), model.vocabulary, normalizer)
        for id in postProcessor.prefix + postProcessor.suffix
        where addedTokens[id] == nil && model.vocabulary.spelling(of: id) == nil {
            throw parts["post_processor"].malformed("adds token id \(id), which no token has")
        }
        let named = try NamedSpecialTokens(directory: url.deletingLastPathComponent())
        func id(of token: String) -> Int? { addedTokens.id(of: token) ?? model.vocabulary.id(of: token.utf8) }
        self.init(
            normalizer: normalizer,
            preTokenizer: preTokenizer,
            model: model,
            postProcessor: postProcessor,
            decoder: try TextDecoder(parts["decoder"]),
            addedTokens: addedTokens,
            beginOfSequence: named.beginOfSequence.flatMap(id(of:)) ?? postProcessor.prefix.first,
            endOfSequence: named.endOfSequence.flatMap(id(of:)) ?? postProcessor.suffix.last
        )
    }
}
