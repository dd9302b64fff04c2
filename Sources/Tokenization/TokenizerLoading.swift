import Foundation

/// Loads the tokenizer of a model directory in Hugging Face layout: `tokenizer.json`, else `tokenizer.model`, else
/// `vocab.json` with `merges.txt`.
///
/// - Throws: `TokenizerError`, naming file and key.
public func loadTokenizer(from directory: URL) throws -> any Tokenizer {
    let tokenizerFile = directory.appending(path: "tokenizer.json")
    if FileManager.default.fileExists(atPath: tokenizerFile.path) {
        return try BytePairTokenizer(contentsOf: tokenizerFile)
    }
    let sentencePieceModel = directory.appending(path: "tokenizer.model")
    if FileManager.default.fileExists(atPath: sentencePieceModel.path) {
        return try BytePairTokenizer(sentencePieceModel: sentencePieceModel)
    }
    let vocabulary = directory.appending(path: "vocab.json")
    let merges = directory.appending(path: "merges.txt")
    if [vocabulary, merges].allSatisfy({ FileManager.default.fileExists(atPath: $0.path) }) {
        return try BytePairTokenizer(vocabulary: vocabulary, merges: merges)
    }
    throw TokenizerError.notFound(directory: directory.path)
}

/// The files of a model directory that make up its tokenizer, in order of their names: what goes along when a stage writes a
/// directory of its own. Empty where there are none.
public func tokenizerFiles(in directory: URL) -> [URL] {
    let names = [
        "added_tokens.json", "chat_template.jinja", "chat_template.json", "merges.txt", "special_tokens_map.json",
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json",
    ]
    return names.map { directory.appending(path: $0) }.filter { FileManager.default.fileExists(atPath: $0.path) }
}
