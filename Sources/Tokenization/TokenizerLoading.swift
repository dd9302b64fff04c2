import Foundation
import JSON
import ModelFiles

/// Loads the tokenizer of a model directory in Hugging Face layout: `tokenizer.json`, else `tokenizer.model`, else
/// `vocab.json` with `merges.txt`, else Mistral's `tekken.json`; or that of a GGUF file.
///
/// - Throws: `TokenizerError`, naming file and key, `GGUFError`, and `FileError` where a file cannot be read.
public func loadTokenizer(from directory: URL) throws -> any Tokenizer {
    switch try TokenizerSource(directory: directory) {
    case .tokenizerFile(let url): return try BytePairTokenizer(contentsOf: url)
    case .tokenizerModel(let url): return try BytePairTokenizer(tokenizerModel: url)
    case .vocabularyFiles(let vocabulary, let merges):
        return try BytePairTokenizer(vocabulary: vocabulary, merges: merges)
    case .tekken(let url): return try BytePairTokenizer(tekkenFile: url)
    case nil: break
    }
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? []
    if let name = names.sorted().first(where: { $0.hasSuffix(".tiktoken") || $0 == "tiktoken.model" }) {
        throw TokenizerError.unsupported(
            file: directory.appending(path: name).path, key: "",
            found: "a tiktoken vocabulary that only the model's own code knows how to use",
            supported: "LLaMA 3's tokenizer.model. Convert this model's tokenizer to tokenizer.json with transformers")
    }
    throw TokenizerError.notFound(directory: directory.path)
}

/// The file that a directory's tokenizer is read from.
enum TokenizerSource {
    case tokenizerFile(URL)
    case tokenizerModel(URL)
    case vocabularyFiles(vocabulary: URL, merges: URL)
    case tekken(URL)

    /// Nil where there is none.
    init?(directory: URL) throws {
        func existing(_ name: String) throws -> URL? {
            let url = directory.appending(path: name)
            return try ModelFile.exists(url) ? url : nil
        }
        if let url = try existing("tokenizer.json") {
            self = .tokenizerFile(url)
        } else if let url = try existing("tokenizer.model") {
            self = .tokenizerModel(url)
        } else if let vocabulary = try existing("vocab.json"), let merges = try existing("merges.txt") {
            self = .vocabularyFiles(vocabulary: vocabulary, merges: merges)
        } else if let url = try existing("tekken.json") {
            self = .tekken(url)
        } else {
            return nil
        }
    }

    /// What BOS and EOS are called where no other file names them: by the code that comes with the model.
    var standardTokens: [(name: String, content: String)] {
        get throws {
            switch self {
            case .tekken:
                return [("bos_token", TekkenFile.beginOfSequence), ("eos_token", TekkenFile.endOfSequence)]
            case .tokenizerModel(let url):
                let data = try readSmallFile(url, limit: BytePairTokenizer.maximumModelBytes)
                guard TiktokenFile(data, file: url.path) != nil else { return [] }
                let family = TiktokenFamily.llama3
                return [("bos_token", family.beginOfSequence), ("eos_token", family.endOfSequence)]
            case .tokenizerFile, .vocabularyFiles: return []
            }
        }
    }
}

extension BytePairTokenizer {
    /// The largest `tokenizer.model` in use has about 4 MB.
    fileprivate static let maximumModelBytes = 32 << 20

    /// Reads a `tokenizer.model`, which is one of two things: a SentencePiece model of type BPE, or LLaMA 3's vocabulary as
    /// `tiktoken` reads it.
    ///
    /// With `addSpecialTokens` it puts BOS in front of a text, and EOS behind it only if `tokenizer_config.json` beside it asks
    /// for that: what the LLaMA family expects. Special tokens are found in texts.
    ///
    /// - Throws: `TokenizerError`, naming file and key or line, and `FileError` where a file cannot be read.
    public init(tokenizerModel url: URL) throws {
        let data = try readSmallFile(url, limit: Self.maximumModelBytes)
        self = try withTokenizerErrors {
            if let file = TiktokenFile(data, file: url.path) { return try BytePairTokenizer(file, at: url) }
            return try BytePairTokenizer(sentencePieceModel: data, at: url)
        }
    }
}

/// The files of a model directory that make up its tokenizer, in order of their names: what a stage copies into the directory
/// that it writes. Empty where there are none. To be read with `ModelFile`: those of a GGUF file are made of its metadata.
///
/// - Throws: `GGUFError`, `FileError`.
public func tokenizerFiles(in directory: URL) throws -> [URL] {
    let names = [
        "added_tokens.json", "chat_template.jinja", "chat_template.json", "merges.txt", "special_tokens_map.json",
        "tekken.json",
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json",
    ]
    return try names.map { directory.appending(path: $0) }.filter(ModelFile.exists)
}

/// Larger files are refused before they are read: tokenizers in use have at most some 40 MB.
let maximumTokenizerFileBytes = 256 << 20

/// Calls `body` with a reader over `data`, and gives its failures the name of the file.
func withJSONReader<Result>(
    of data: Data,
    file: String,
    _ body: (inout JSONReader) throws -> Result
) throws -> Result {
    try data.withUnsafeBytes { raw in
        do {
            var reader = try JSONReader(validating: raw)
            return try body(&reader)
        } catch let error as JSONError {
            let key = error.problem == .notUTF8 ? "" : "byte \(error.offset)"
            throw TokenizerError.malformed(file: file, key: key, reason: error.reason)
        }
    }
}

/// Calls `body`, which reads a tokenizer's files, and makes what is wrong with their JSON a `TokenizerError`.
func withTokenizerErrors<Result>(_ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as JSONNodeError {
        throw TokenizerError(error)
    }
}

extension TokenizerError {
    init(_ error: JSONNodeError) {
        if case .unsupported(let found, let supported) = error.problem {
            self = .unsupported(file: error.file, key: error.key, found: found, supported: supported)
        } else {
            self = .malformed(file: error.file, key: error.key, reason: error.reason)
        }
    }
}

extension JSONNode {
    /// Reads a JSON file of a tokenizer whole: an object. Of two equal keys the later one counts, as in Python.
    ///
    /// - Returns: A node that is missing where the file is.
    init(tokenizerFile url: URL) throws {
        guard try ModelFile.exists(url) else {
            self.init(nil, file: url.path)
            return
        }
        self = try ModelFile.contents(of: url, limit: maximumTokenizerFileBytes).withUnsafeBytes {
            try JSONNode(parsing: $0, file: url.path, duplicateKeys: .lastCounts)
        }
        _ = try object()
    }

    /// The boolean, or `standard` where the key is missing or null.
    func boolean(default standard: Bool) throws -> Bool { try nonNull?.boolean() ?? standard }

    /// The `type` member that names a component.
    func type() throws -> String {
        _ = try object()
        return try self["type"].string()
    }

    /// What a token is spelled like that is given as a string or as an object with `content`; nil where this is null.
    func tokenContent() throws -> String? {
        if case .object = value { return try self["content"].string() }
        return try nonNull?.string()
    }

    func unsupported(_ found: String, supported: String) -> JSONNodeError {
        JSONNodeError(file: file, line: line, key: path, problem: .unsupported(found: found, supported: supported))
    }
}
