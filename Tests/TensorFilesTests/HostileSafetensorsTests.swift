import Foundation
import JSON
import TensorFiles
import TestSupport
import Testing

/// Files that a stranger wrote to hurt: each must give its own error and do nothing else.
struct HostileSafetensorsTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func error(_ data: Data) throws -> SafetensorsError? {
        let url = try directory.write(data, as: "hostile.safetensors")
        return #expect(throws: SafetensorsError.self) { try SafetensorsFile(contentsOf: url) }
    }

    private func error(header: String, data: [UInt8] = []) throws -> SafetensorsError? {
        try error(safetensors(header: header, data: data))
    }

    private func entry(_ name: String, _ shape: String, _ begin: Int, _ end: Int, type: String = "F32") -> String {
        "\"\(name)\":{\"dtype\":\"\(type)\",\"shape\":\(shape),\"data_offsets\":[\(begin),\(end)]}"
    }

    @Test("A file too short for the header's length is refused")
    func tooShort() throws {
        guard case .truncated(_, 3)? = try error(Data([1, 2, 3])) else { return fail("another error") }
        guard case .truncated(_, 0)? = try error(Data()) else { return fail("another error") }
    }

    @Test("A header that ends after the file is refused", arguments: [3, 1 << 40, UInt64.max, UInt64(Int64.max)])
    func headerPastEnd(length: UInt64) throws {
        let found = try error(safetensors(headerBytes: [0x7B, 0x7D], headerLength: length))
        guard case .headerPastEnd(_, length, 10)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("A header above the format's limit is refused before it is parsed")
    func hugeHeader() throws {
        // A sparse file: the limit is judged without reading it.
        let url = try directory.write(safetensors(headerBytes: [], headerLength: 100_000_001), as: "huge")
        let handle = try FileHandle(forWritingTo: url)
        try handle.truncate(atOffset: 100_000_100)
        try handle.close()
        let found = #expect(throws: SafetensorsError.self) { try SafetensorsFile(contentsOf: url) }
        guard case .headerTooLarge(_, 100_000_001, _)? = found else {
            return fail("\(String(describing: found))")
        }
    }

    @Test("Overlapping ranges are refused, both tensors named")
    func overlap() throws {
        let header = "{\(entry("a", "[2]", 0, 8)),\(entry("b", "[2]", 4, 12))}"
        let found = try error(header: header, data: [UInt8](repeating: 0, count: 12))
        guard case .overlap(_, "b", "a")? = found else { return fail("\(String(describing: found))") }
    }

    @Test("A range past the end of the file is refused")
    func pastEnd() throws {
        let found = try error(header: "{\(entry("a", "[4]", 0, 16))}", data: [UInt8](repeating: 0, count: 15))
        guard case .rangePastEnd(_, "a", 16, 15)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("Bytes that belong to no tensor are refused, in the middle and at the end")
    func hole() throws {
        let header = "{\(entry("a", "[1]", 0, 4)),\(entry("b", "[1]", 8, 12))}"
        guard case .hole(_, 4, 8)? = try error(header: header, data: [UInt8](repeating: 0, count: 12)),
            case .hole(_, 4, 5)? = try error(header: "{\(entry("a", "[1]", 0, 4))}", data: [0, 0, 0, 0, 0])
        else { return fail("another error") }
    }

    @Test(
        "A shape whose product overflows is refused",
        arguments: ["[4294967296,4294967296]", "[9223372036854775807,2]", "[3037000500,3037000500,1]"]
    )
    func overflow(shape: String) throws {
        let found = try error(header: "{\(entry("a", shape, 0, 0))}")
        guard case .sizeOverflow(_, "a", _)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("A range that is not as long as the shape asks is refused")
    func wrongLength() throws {
        let found = try error(header: "{\(entry("a", "[3]", 0, 8))}", data: [UInt8](repeating: 0, count: 8))
        guard case .rangeDisagreesWithShape(_, "a", 12, 8)? = found else {
            return fail("\(String(describing: found))")
        }
    }

    @Test("Two tensors of one name are refused, also when one is spelt with an escape")
    func duplicate() throws {
        for second in ["a", "\\u0061"] {
            let header = "{\(entry("a", "[1]", 0, 4)),\(entry(second, "[1]", 4, 8))}"
            let found = try error(header: header, data: [UInt8](repeating: 0, count: 8))
            guard case .duplicateName(_, "a")? = found else { return fail("\(String(describing: found))") }
        }
    }

    @Test("A header that is not UTF-8 is refused")
    func notUTF8() throws {
        let bytes = Array("{\"".utf8) + [0xC3, 0x28] + Array("\":{}}".utf8)
        guard case .malformedHeader(_, let reason)? = try error(safetensors(headerBytes: bytes)) else {
            return fail("another error")
        }
        #expect(reason.contains("UTF-8"))
    }

    @Test(
        "A header that is not a JSON object is refused",
        arguments: ["", "[]", "1", "{", "{\"a\"}", "{\"a\":1,}", "{} x", "nul"]
    )
    func notAnObject(header: String) throws {
        guard case .malformedHeader? = try error(header: header) else { return fail("another error") }
    }

    @Test("A header nested a hundred thousand deep is refused")
    func nesting() throws {
        // No argument of the test: the log would hold it.
        try notAnObject(header: String(repeating: "[", count: 100_000))
    }

    @Test(
        "An entry of another form is refused, by name",
        arguments: [
            "1", "{}", "{\"dtype\":\"F32\",\"shape\":[1]}", "{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}",
            "{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}",
            "{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}",
            "{\"dtype\":\"F32\",\"shape\":[true],\"data_offsets\":[0,4]}",
            "{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}",
            "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}",
            "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}",
            "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}",
            "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}",
            "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}",
        ]
    )
    func malformedEntry(entry: String) throws {
        let found = try error(header: "{\"a\":\(entry)}", data: [0, 0, 0, 0])
        guard case .malformedEntry(_, "a", _, _)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("An unknown element type is refused, by name")
    func unknownType() throws {
        let found = try error(
            header: "{\(entry("a", "[1]", 0, 8, type: "F64"))}",
            data: [UInt8](repeating: 0, count: 8)
        )
        guard case .unsupportedElementType(_, "a", "F64")? = found else {
            return fail("\(String(describing: found))")
        }
    }

    @Test("A directory, a missing file and a pipe are refused and do not hang")
    func notAFile() throws {
        let pipe = directory.url.appending(path: "pipe")
        #expect(mkfifo(pipe.path, 0o600) == 0)
        for url in [directory.url, pipe, directory.url.appending(path: "missing")] {
            #expect(throws: FileError.self) { try SafetensorsFile(contentsOf: url) }
        }
    }

    @Test("A good file cut anywhere is refused, whatever byte it ends on")
    func everyTruncation() throws {
        let header = "{\(entry("a", "[2]", 0, 8)),\(entry("b", "[1]", 8, 12))}"
        let whole = safetensors(header: header, data: [UInt8](repeating: 1, count: 12))
        for count in 0..<whole.count {
            let url = try directory.write(whole.prefix(count), as: "cut")
            #expect(throws: SafetensorsError.self) { try SafetensorsFile(contentsOf: url) }
        }
    }

    @Test("Random damage to a good header never crashes")
    func randomDamage() throws {
        let header = "{\"__metadata__\":{\"format\":\"pt\"},\(entry("a", "[2]", 0, 8)),\(entry("b", "[1]", 8, 12))}"
        let whole = safetensors(header: header, data: [UInt8](repeating: 1, count: 12))
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            var damaged = whole
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                damaged[Int.random(in: 0..<damaged.count, using: &generator)] = .random(
                    in: 0 ... .max,
                    using: &generator
                )
            }
            let url = try directory.write(damaged, as: "damaged")
            do {
                let file = try SafetensorsFile(contentsOf: url)
                for name in file.tensors.keys { _ = try file.withUnsafeBytes(of: name) { $0.reduce(0, &+) } }
            } catch is SafetensorsError {
                continue
            }
        }
    }
}
