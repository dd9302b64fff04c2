import Foundation
import JSON
import Testing

@testable import Tokenization

@Suite("JSON of a tokenizer")
struct TokenizerJSONTests {
    private func read(_ text: String) throws -> JSONValue {
        try withJSONReader(of: Data(text.utf8), file: "f") { reader in
            let value = try reader.readValue(duplicateKeys: .lastCounts)
            try reader.readEnd()
            return value
        }
    }

    @Test(
        "Broken text is refused, never crashes",
        arguments: [
            "", " ", "{", "[", "[1,", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "\"", "\"\\", "\"\\u12\"",
            "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\x\"", "\"\u{1}\"", "tru", "nul", "01", "-", "1.",
            "1e", "+1", ".5", "NaN", "[] []", "\u{FEFF}{}",
        ]
    )
    func broken(text: String) {
        #expect(throws: TokenizerError.self) { try read(text) }
    }

    @Test("Nesting a hundred thousand deep is refused, never crashes")
    func nesting() {
        // No arguments of the test: the log would hold them.
        for piece in ["[", "{\"a\":"] { broken(text: String(repeating: piece, count: 100_000)) }
    }

    @Test("An error names the file and the byte")
    func place() {
        #expect(throws: TokenizerError.malformed(file: "f", key: "byte 3", reason: "expected \",\" or \"]\"")) {
            try read("[1 2]")
        }
    }

    @Test("Bytes that are not UTF-8 are refused")
    func invalidUTF8() {
        #expect(throws: TokenizerError.malformed(file: "f", key: "", reason: "not valid UTF-8, so not JSON")) {
            try withJSONReader(of: Data([0x22, 0xFF, 0x22]), file: "f") { reader in
                _ = try reader.readValue(duplicateKeys: .lastCounts)
            }
        }
    }

    @Test("Integers that do not fit are refused")
    func integers() throws {
        func integer(_ text: String) throws -> Int {
            try withJSONReader(of: Data(text.utf8), file: "f") { try $0.readInteger() }
        }
        #expect(try integer("-12") == -12)
        for text in ["9223372036854775808", "1e3", "1.0", "\"1\""] {
            #expect(throws: TokenizerError.self) { try integer(text) }
        }
    }

    @Test("Elements below a long key do not each spell it out", .timeLimit(.minutes(2)))
    func longPath() throws {
        let key = String(repeating: "k", count: 100_000)
        let value = JSONValue.object(JSONObject([(key, .array(Array(repeating: .integer(0), count: 100_000)))]))
        let elements = try JSONNode(value, file: "f")[key].elements()
        #expect(elements.count == 100_000)
        #expect(elements[7].path == "\(key)[7]")
    }

    @Test("A node's error names file, key and value; of two equal keys the later one counts")
    func node() throws {
        let text = #"{"a": {"b": [1.5, "x"], "b": [2.5, "y"]}}"#
        let node = JSONNode(try read(text), file: "f")
        let elements = try node["a"]["b"].elements()
        #expect(try elements[1].string() == "y")
        for (node, key, found) in [
            (elements[0], "a.b[0]", "2.5"), (elements[1], "a.b[1]", "\"y\""), (node["a"]["b"], "a.b", "an array"),
            (node["a"], "a", "an object"),
        ] {
            let error = TokenizerError.malformed(file: "f", key: key, reason: "expected an integer, found \(found)")
            #expect(throws: error) { try withTokenizerErrors { try node.integer() } }
        }
    }
}
