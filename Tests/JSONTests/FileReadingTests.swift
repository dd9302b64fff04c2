import Foundation
import JSON
import TestSupport
import Testing

@Suite("Reading files and lines")
struct FileReadingTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func write(_ data: Data, as name: String = "f") throws -> URL { try directory.write(data, as: name) }

    private func numbers(_ url: URL, maximumLineBytes: Int = 1 << 20) throws -> [(line: Int?, value: Int)] {
        var lines = try JSONLines(contentsOf: url, maximumLineBytes: maximumLineBytes)
        var found: [(Int?, Int)] = []
        while let node = try lines.next() { found.append((node.line, try node["n"].integer())) }
        return found
    }

    // MARK: Lines

    @Test(
        "Blank lines are counted, carriage returns are none, and the last line needs no end", arguments: [false, true])
    func lineNumbers(isZipped: Bool) throws {
        let text = "{\"n\": 1}\r\n\r\n \t\n{\"n\": 2}\n\n\n{\"n\": 3}"
        let url = try write(
            isZipped ? zipped(Data(text.utf8)) : Data(text.utf8), as: isZipped ? "a.jsonl.gz" : "a.jsonl")
        let found = try numbers(url)
        #expect(found.map(\.line) == [1, 4, 7])
        #expect(found.map(\.value) == [1, 2, 3])
    }

    @Test("A line that spans many chunks of the file is read whole", arguments: [false, true])
    func longLines(isZipped: Bool) throws {
        let padding = String(repeating: "x", count: 5 << 19)
        let text = (1...4).map { "{\"pad\": \"\(padding)\", \"n\": \($0)}\n" }.joined()
        let url = try write(isZipped ? zipped(Data(text.utf8)) : Data(text.utf8))
        #expect(try numbers(url, maximumLineBytes: 4 << 20).map(\.value) == [1, 2, 3, 4])
    }

    @Test("An empty file has no lines")
    func empty() throws {
        #expect(try numbers(write(Data())).isEmpty)
        #expect(try numbers(write(zipped(Data()))).isEmpty)
        #expect(try numbers(write(Data("\n\r\n".utf8))).isEmpty)
    }

    @Test("An error names file, line, key, what was expected and what was found")
    func errors() throws {
        let url = try write(Data("\n{\"n\": 1}\n\n{\"n\": \"x\"}\n".utf8))
        let expected = JSONNodeError(
            file: url.path, line: 4, key: "n", problem: .mismatch(expected: "an integer", found: "\"x\""))
        #expect(throws: expected) { try numbers(url) }
        #expect(expected.localizedDescription == "\(url.path), line 4: \"n\": expected an integer, found \"x\".")
        let broken = #expect(throws: JSONNodeError.self) { try numbers(write(Data("{\"n\": 1}\n\n{\"n\"".utf8))) }
        #expect(broken?.line == 3)
        let bytes = #expect(throws: JSONNodeError.self) { try numbers(write(Data("{\"n\": 1}\n\"".utf8) + [0xFF])) }
        #expect(bytes?.line == 2)
    }

    @Test("A line beyond the limit is refused by number, whether it ends or not", arguments: ["", "\n", "\n1\n"])
    func lineLimit(end: String) throws {
        let url = try write(Data(("{\"n\": 1}\n" + String(repeating: " ", count: 3 << 20) + end).utf8))
        #expect(throws: FileError.lineTooLong(file: url.path, line: 2, limit: 1 << 20)) { try numbers(url) }
    }

    // MARK: Text and gzip

    @Test("Text that is not UTF-8 is refused with its line")
    func notUTF8() throws {
        let url = try write(Data("one\ntwo\n".utf8) + [0xC3, 0x28])
        #expect(throws: FileError.notUTF8(file: url.path, line: 3)) { try readText(of: url) }
        #expect(try readText(of: write(zipped(Data("é\r\n".utf8)))) == "é\r\n")
    }

    @Test("Members of a gzip file follow one another")
    func gzipMembers() throws {
        let url = try write(zipped(Data("one".utf8)) + zipped(Data("two".utf8)))
        #expect(try readContents(of: url, limit: 100) == Data("onetwo".utf8))
    }

    @Test("A gzip file that ends early or was altered is an error that names it, at any place")
    func damagedGzip() throws {
        let whole = zipped(Data((0..<400).map { UInt8(truncatingIfNeeded: $0 * $0 / 7) }))
        for count in 2..<whole.count {
            let url = try write(whole.prefix(count))
            #expect(throws: FileError.self) { try readContents(of: url, limit: 1000) }
        }
        var altered = whole
        altered[altered.count - 6] ^= 1  // in the checksum
        let url = try write(altered)
        #expect(throws: FileError.damagedGzip(file: url.path, reason: "incorrect data check")) {
            try readContents(of: url, limit: 1000)
        }
        let followed = try write(whole + Data("more".utf8))
        #expect(throws: FileError.self) { try readContents(of: followed, limit: 1000) }
    }

    @Test("What unfolds beyond the limit is refused before it takes memory")
    func gzipBomb() throws {
        let data = zipped(Data(count: 1 << 20))
        #expect(data.count < 2000)
        let url = try write(data)
        #expect(throws: FileError.unzippedTooLarge(file: url.path, limit: 1 << 19)) {
            try readContents(of: url, limit: 1 << 19)
        }
        #expect(try readContents(of: url, limit: 1 << 20).count == 1 << 20)
    }

    @Test("A small file that is larger than its limit is refused")
    func limit() throws {
        let url = try write(Data(count: 101))
        #expect(throws: FileError.tooLarge(file: url.path, bytes: 101, limit: 100)) {
            try readSmallFile(url, limit: 100)
        }
        #expect(try readSmallFile(url, limit: 101).count == 101)
    }

    @Test("A Git LFS pointer is called one, whatever it stands for")
    func gitLFSPointer() throws {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
        let url = try write(Data(pointer.utf8))
        #expect(throws: FileError.gitLFSPointer(file: url.path)) { try readSmallFile(url) }
        #expect(throws: FileError.gitLFSPointer(file: url.path)) { try numbers(url) }
    }
}

@Suite("JSON nodes")
struct JSONNodeTests {
    private func node(_ text: String) throws -> JSONNode {
        try Array(text.utf8).withUnsafeBytes { try JSONNode(parsing: $0, file: "f", duplicateKeys: .lastCounts) }
    }

    @Test("Elements below a long key do not each spell it out", .timeLimit(.minutes(2)))
    func longPath() throws {
        let key = String(repeating: "k", count: 100_000)
        let value = JSONValue.object(JSONObject([(key, .array(Array(repeating: .integer(0), count: 100_000)))]))
        let elements = try JSONNode(value, file: "f")[key].elements()
        #expect(elements.count == 100_000)
        #expect(elements[7].path.hasSuffix("k[7]"))
    }

    @Test(
        "An error names file, key and what stands there; of two equal keys the later one counts where that is asked for"
    )
    func errors() throws {
        let node = try node(#"{"a": {"b": [1.5, "x"], "b": [2.5, "y"], "null": null}}"#)
        let elements = try node["a"]["b"].elements()
        #expect(try elements[1].string() == "y")
        for (node, key, found) in [
            (elements[0], "a.b[0]", "2.5"), (elements[1], "a.b[1]", "\"y\""), (node["a"]["b"], "a.b", "an array"),
            (node["a"], "a", "an object"), (node["a"]["null"], "a.null", "null"),
        ] {
            let problem = JSONNodeError.Problem.mismatch(expected: "an integer", found: found)
            #expect(throws: JSONNodeError(file: "f", key: key, problem: problem)) { try node.integer() }
        }
        let missing = JSONNodeError(file: "f", key: "c.d", problem: .missing(expected: "an integer"))
        #expect(throws: missing) { try node["c"]["d"].integer() }
        #expect(throws: JSONNodeError.self) {
            try Array(#"{"a": 1, "a": 2}"#.utf8).withUnsafeBytes { try JSONNode(parsing: $0, file: "f") }
        }
    }

    @Test("A missing key and null are told apart, and are both no value")
    func missingAndNull() throws {
        let node = try node(#"{"null": null, "no": false}"#)
        #expect(node["null"].isNull && !node["null"].isMissing && node["null"].nonNull == nil)
        #expect(node["none"].isNull && node["none"].isMissing && node["none"].nonNull == nil)
        #expect(try node["no"].nonNull?.boolean() == false)
    }

    @Test("A value is shortened for a message without writing all of it")
    func summary() {
        #expect(JSONValue.array([.integer(1), .string("a")]).summary == "[1,\"a\"]")
        let long = JSONValue.array(Array(repeating: .string(String(repeating: "x", count: 1000)), count: 1000))
        #expect(long.summary.count == 80)
    }
}
