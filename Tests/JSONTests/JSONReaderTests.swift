import Foundation
import JSON
import Testing

@Suite("JSON reader")
struct JSONReaderTests {
    private func read(_ text: String, duplicateKeys: DuplicateKeys = .refused) throws -> JSONValue {
        try withReader(of: text) { reader in
            let value = try reader.readValue(duplicateKeys: duplicateKeys)
            try reader.readEnd()
            return value
        }
    }

    private func withReader<Result>(of text: String, _ body: (inout JSONReader) throws -> Result) throws -> Result {
        try Data(text.utf8).withUnsafeBytes { bytes in
            var reader = try JSONReader(validating: bytes)
            return try body(&reader)
        }
    }

    private func failure(_ body: () throws -> Void) -> JSONError? {
        #expect(throws: JSONError.self) { try body() }
    }

    @Test("Escapes, surrogate pairs and U+0000 are read")
    func escapes() throws {
        #expect(try read(#""a\"\\\/\b\f\n\r\t""#) == .string("a\"\\/\u{8}\u{C}\n\r\t"))
        guard case .string(let text) = try read(#""\u00e9\ud83d\uDE00\u0000""#) else {
            Issue.record("no string")
            return
        }
        #expect(Array(text.utf8) == Array("é😀\0".utf8))
    }

    @Test("Canonically equivalent keys stay two keys in a stream")
    func equivalentKeys() throws {
        var keys: [[UInt8]] = []
        try withReader(of: "{\"\u{E9}\": 1, \"e\u{301}\": 2}") { reader in
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
            "1e", "+1", ".5", "NaN", "[] []", "\u{FEFF}{}",
        ]
    )
    func broken(text: String) {
        #expect(throws: JSONError.self) { try read(text) }
        #expect(throws: JSONError.self) { try JSONValue.parse(Data(text.utf8)) }
    }

    @Test("Nesting a hundred thousand deep is refused, never crashes")
    func nesting() {
        // No arguments of the test: the log would hold them.
        for piece in ["[", "{\"a\":"] { broken(text: String(repeating: piece, count: 100_000)) }
    }

    @Test("A complaint names the byte")
    func offsets() {
        for (text, offset) in [("[1 2]", 3), ("{\"a\":tru}", 5), ("[1e400]", 1), ("{} x", 3), ("[\"\\x\"]", 4)] {
            let found = failure { _ = try read(text) }
            #expect(found?.offset == offset, "\(text)")
            #expect(found?.localizedDescription.contains("(byte \(offset))") == true, "\(text)")
        }
    }

    @Test("Nesting of 64 levels is read, of 65 refused, in arrays and in objects")
    func depth() throws {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            func nested(_ levels: Int) -> String {
                String(repeating: open, count: levels - 1) + "[]" + String(repeating: close, count: levels - 1)
            }
            _ = try read(nested(64))
            #expect(failure { _ = try read(nested(65)) }?.problem == .tooDeep(limit: 64))
        }
    }

    @Test("Bytes that are not UTF-8 are refused, in strings, keys and between values, naming the byte")
    func invalidUTF8() {
        for (bytes, offset) in [
            ([0x22, 0xFF, 0x22], 1), (Array("{\"é".utf8) + [0xC3, 0x28], 4), ([0x5B, 0x80, 0x5D], 1),
            ([0x22, 0xED, 0xA0, 0x80, 0x22], 1), ([0x22, 0xC0, 0xAF, 0x22], 1), ([0x22, 0xF0, 0x9F], 1),
        ] as [([UInt8], Int)] {
            let found = failure { _ = try JSONValue.parse(Data(bytes)) }
            #expect(found?.problem == .notUTF8 && found?.offset == offset, "\(bytes)")
        }
    }

    @Test("Marks without end on one character are refused, in strings and keys: to compare them takes time squared")
    func marks() throws {
        func text(_ count: Int) -> String { "a" + String(repeating: "\u{301}\u{316}", count: count / 2) + "b" }
        #expect(try read("[\"\(text(128))\(text(128))\"]") == .array([.string(text(128) + text(128))]))
        for text in ["[\"\(text(130))\"]", "{\"\(text(130))\": 1}"] {
            #expect(failure { _ = try read(text) }?.problem == .tooManyMarks(limit: 128))
        }
    }

    @Test("Integers that do not fit are refused")
    func integers() throws {
        func integer(_ text: String) throws -> Int { try withReader(of: text) { try $0.readInteger() } }
        #expect(try integer("-12") == -12)
        for text in ["9223372036854775808", "1e3", "1.0", "\"1\""] {
            #expect(throws: JSONError.self) { try integer(text) }
        }
    }

    @Test("Integers stay exact in a tree, other numbers are doubles, those out of range are refused")
    func numbers() throws {
        let text = "[9223372036854775807, -0, 9223372036854775808, 1.0, 1e-3]"
        #expect(
            try read(text)
                == .array([.integer(.max), .integer(0), .number(9_223_372_036_854_775_808), .number(1), .number(0.001)])
        )
        for text in ["1e400", "-1e400"] { #expect(throws: JSONError.self) { try read(text) } }
    }

    @Test(
        "A key that stands twice is refused at every level, also when spelt with an escape or other scalars",
        arguments: [
            #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":1}"#, #"[{"b":{"a":1,"c":2,"a":3}}]"#, "{\"\u{E9}\":1,\"e\u{301}\":1}",
            "{" + (0..<40).map { "\"\($0)\":0," }.joined() + "\"5\":1}",
        ]
    )
    func duplicateKeys(text: String) throws {
        guard case .duplicateKey? = failure({ _ = try read(text) })?.problem else {
            Issue.record("another error")
            return
        }
        _ = try read(text, duplicateKeys: .lastCounts)
    }

    @Test("Where the last of two equal keys counts, it does")
    func lastCounts() throws {
        let value = try read(#"{"a":1,"b":2,"a":3}"#, duplicateKeys: .lastCounts)
        #expect(value == .object(JSONObject([("a", .integer(3)), ("b", .integer(2))])))
    }

    @Test("Members are found, replaced and removed, few and many, in their order", arguments: [3, 16, 17, 18, 100])
    func members(count: Int) {
        let keys = (0..<count).map { "key \($0)" }
        var object = JSONObject(keys.map { ($0, .string($0)) })
        #expect(keys.allSatisfy { object[$0] == .string($0) })
        #expect(object["other"] == nil)
        object[keys[1]] = .null
        #expect(object.members.map(\.key) == keys)
        #expect(object[keys[1]] == .null)
        object[keys[1]] = nil
        object["other"] = nil
        #expect(object == JSONObject(keys.filter { $0 != keys[1] }.map { ($0, .string($0)) }))
        #expect(object[keys[1]] == nil)
        #expect(object[keys[count - 1]] == .string(keys[count - 1]))
    }
}
