import Foundation

/// A trained tokenizer as Hugging Face's `tokenizer.json`.
struct TrainedTokenizerFile {
    /// Spelling of each token in the byte alphabet; the special ones first.
    let spellings: [[UInt8]]
    let merges: [MergeLearner.Pair]

    /// The file. The same tokenizer gives the same bytes.
    var jsonData: Data {
        let tokens = spellings.map { String(decoding: $0, as: UTF8.self) }
        let special = BytePairTrainer.specialTokens.enumerated().map { id, token in
            """
                { "id": \(id), "content": \(quoted(token)), "single_word": false, "lstrip": false, "rstrip": false, \
            "normalized": false, "special": true }
            """
        }
        let opening = quoted(BytePairTrainer.beginOfSequence)
        let vocabulary = tokens.enumerated().map { id, token in "      \(quoted(token)): \(id)" }
        let merges = merges.map { "      " + quoted("\(tokens[Int($0.left)]) \(tokens[Int($0.right)])") }
        let json = """
            {
              "version": "1.0",
              "truncation": null,
              "padding": null,
              "added_tokens": [
            \(special.joined(separator: ",\n"))
              ],
              "normalizer": null,
              "pre_tokenizer": \(byteLevel),
              "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                  { "SpecialToken": { "id": \(opening), "type_id": 0 } },
                  { "Sequence": { "id": "A", "type_id": 0 } }
                ],
                "pair": [
                  { "SpecialToken": { "id": \(opening), "type_id": 0 } },
                  { "Sequence": { "id": "A", "type_id": 0 } },
                  { "SpecialToken": { "id": \(opening), "type_id": 1 } },
                  { "Sequence": { "id": "B", "type_id": 1 } }
                ],
                "special_tokens": { \(opening): { "id": \(opening), "ids": [0], "tokens": [\(opening)] } }
              },
              "decoder": \(byteLevel),
              "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": {
            \(vocabulary.joined(separator: ",\n"))
                },
                "merges": [
            \(merges.joined(separator: ",\n"))
                ]
              }
            }

            """
        return Data(json.utf8)
    }

    private let byteLevel =
        #"{ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true }"#

    /// A string as JSON. The byte alphabet has nothing else to escape.
    private func quoted(_ text: String) -> String {
        "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }
}
