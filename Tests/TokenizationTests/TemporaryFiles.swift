import Foundation

@testable import Tokenization

/// Calls `body` with a directory that holds `files`, and removes it afterwards.
func withDirectory<Result>(_ files: [String: Data], _ body: (URL) throws -> Result) throws -> Result {
    let directory = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    for (name, data) in files { try data.write(to: directory.appending(path: name)) }
    return try body(directory)
}

/// A byte-level tokenizer.json, of which a test changes what it is about.
struct ByteLevelFile {
    var vocabulary = [#""a": 0"#, #""b": 1"#, #""c": 2"#, #""ab": 3"#, #""abc": 4"#, #""Ġ": 5"#, #""Ġab": 6"#]
    var merges = [#""a b""#, #""ab c""#, #""Ġ ab""#]
    var model = ""
    var addedTokens: [String] = []
    var normalizer = "null"
    var preTokenizer = #"{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}"#
    var postProcessor = "null"
    var decoder = #"{"type": "ByteLevel"}"#

    var data: Data {
        Data(
            """
            {"added_tokens": [\(addedTokens.joined(separator: ", "))], "normalizer": \(normalizer),
             "pre_tokenizer": \(preTokenizer), "post_processor": \(postProcessor), "decoder": \(decoder),
             "model": {"type": "BPE", \(model)
               "merges": [\(merges.joined(separator: ", "))],
               "vocab": {\(vocabulary.joined(separator: ", "))}}}
            """.utf8
        )
    }

    func tokenizer() throws -> any Tokenizer {
        try withDirectory(["tokenizer.json": data]) { try loadTokenizer(from: $0) }
    }

    /// The file of a vocabulary of single bytes, ids 0 to 255, no merges.
    static var bytes: ByteLevelFile {
        var file = ByteLevelFile()
        file.vocabulary = ByteAlphabet.scalars.enumerated().map { id, scalar in
            scalar == "\"" || scalar == "\\" ? "\"\\\(scalar)\": \(id)" : "\"\(scalar)\": \(id)"
        }
        file.merges = []
        return file
    }
}

/// The pieces that a pre-tokenizer makes of a text.
func pieces(_ text: String, by preTokenizer: PreTokenizer) throws -> [String] {
    var text = PreTokenizedText(Array(text.utf8), startsText: true)
    try preTokenizer.apply(to: &text)
    return text.pieces.map { String(decoding: text.bytes[$0], as: UTF8.self) }
}

/// A pattern that is not one of those that are scanned by hand.
func regularExpression(_ pattern: String) throws -> SearchPattern {
    .regularExpression(
        RegularExpression(
            try NSRegularExpression(pattern: pattern), file: "tokenizer.json", key: "pre_tokenizer.pattern.Regex"))
}
