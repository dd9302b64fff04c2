import Foundation
import Testing

@testable import Tokenization

@Suite("JSON reader")
struct JSONReaderTests {
    private func read(_ text: String) throws -> JSONValue {
        try withJSONReader(of: Data(text.utf8), file: "f") { reader in
            let value = try reader.readValue()
            try reader.readEnd()
            return value
        }
    }

    private func string(_ text: String) throws -> String {
        guard case .string(let string) = try read(text) else { throw CocoaError(.coderInvalidValue) }
        return string
    }

    @Test("Escapes, surrogate pairs and U+0000 are read")
    func escapes() throws {
        #expect(try string(#""a\"\\\/\b\f\n\r\t""#) == "a\"\\/\u{8}\u{C}\n\r\t")
        #expect(try Array(string(#""\u00e9\ud83d\uDE00\u0000""#).utf8) == Array("é😀\0".utf8))
    }

    @Test("Canonically equivalent keys stay two keys")
    func equivalentKeys() throws {
        var keys: [[UInt8]] = []
        try withJSONReader(of: Data("{\"\u{E9}\": 1, \"e\u{301}\": 2}".utf8), file: "f") { reader in
            try reader.readObject { reader, key in
                keys.append(key)
                _ = try reader.readInteger()
            }
        }
        #expect(keys == [Array("\u{E9}".utf8), Array("e\u{301}".utf8)])
    }

    @Test(
        "Broken text is refused, never crashes",
        arguments: [
            "", " ", "{", "[", "[1,", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "[1,]", "\"", "\"\\", "\"\\u12\"",
            "\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\x\"", "\"\u{1}\"", "tru", "nul", "01", "-", "1.",
            "1e", "+1", ".5", "NaN", "[] []", "\u{FEFF}{}", String(repeating: "[", count: 100_000),
            String(repeating: "{\"a\":", count: 100_000),
        ]
    )
    func broken(text: String) {
        #expect(throws: TokenizerError.self) { try read(text) }
    }

    @Test("Bytes that are not UTF-8 are refused")
    func invalidUTF8() {
        #expect(throws: TokenizerError.malformed(file: "f", key: "", reason: "not valid UTF-8, so not JSON")) {
            try withJSONReader(of: Data([0x22, 0xFF, 0x22]), file: "f") { _ = try $0.readValue() }
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
}
