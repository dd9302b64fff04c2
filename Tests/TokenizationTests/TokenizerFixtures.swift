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

/// A `tokenizer.model`, written field by field.
struct SentencePieceFile {
    enum Kind: UInt8 {
        case normal = 1
        case unknown = 2
        case control = 3
        case userDefined = 4
        case unused = 5
        case byte = 6
    }

    var pieces: [(piece: [UInt8], score: Float, kind: Kind)] = [
        (Array("<unk>".utf8), 0, .unknown), (Array("<s>".utf8), 0, .control), (Array("</s>".utf8), 0, .control),
    ]
    var type: UInt8 = 2
    var hasByteFallback = true
    var addsDummyPrefix = true
    var removesExtraSpaces = false
    var charsmap: [UInt8] = []

    init(_ words: [String]) {
        for byte in UInt8.min...UInt8.max { pieces.append((BytePairModel.fallbackSpelling(of: byte), 0, .byte)) }
        for (index, word) in words.enumerated() { pieces.append((Array(word.utf8), -Float(index), .normal)) }
    }

    var data: Data {
        func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] {
            [number << 3 | 2]
                + (bytes.count < 128
                    ? [UInt8(bytes.count)] : [UInt8(bytes.count & 127) | 128, UInt8(bytes.count >> 7)])
                + bytes
        }
        var bytes: [UInt8] = []
        for (piece, score, kind) in pieces {
            let scoreBytes = withUnsafeBytes(of: score.bitPattern.littleEndian) { Array($0) }
            bytes += field(1, field(1, piece) + [2 << 3 | 5] + scoreBytes + [3 << 3, kind.rawValue])
        }
        // Field 35 takes two bytes as a key: 35 << 3 is 280.
        bytes += field(2, [3 << 3, type, 0x98, 0x02, hasByteFallback ? 1 : 0])
        let normalizer = [3 << 3, addsDummyPrefix ? 1 : 0, 4 << 3, removesExtraSpaces ? 1 : 0] as [UInt8]
        bytes += field(3, field(2, charsmap) + normalizer)
        return Data(bytes)
    }

    func tokenizer(configuration: String = "{}") throws -> any Tokenizer {
        let files = ["tokenizer.model": data, "tokenizer_config.json": Data(configuration.utf8)]
        return try withDirectory(files) { try loadTokenizer(from: $0) }
    }
}
