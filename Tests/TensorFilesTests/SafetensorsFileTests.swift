import Foundation
import JSON
import TensorFiles
import TestSupport
import Testing

struct SafetensorsFileTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("Values of the three float types are read exactly, at an odd address too")
    func floatTypes() throws {
        // The header's length is odd, so that no tensor is aligned.
        let header = """
            {"ff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},\
            "h":{"dtype":"F16","shape":[3],"data_offsets":[8,14]},\
            "b":{"dtype":"BF16","shape":[2],"data_offsets":[14,18]}}
            """
        #expect(header.utf8.count % 2 == 1)
        let data: [UInt8] = [
            0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 0x00, 0x3C, 0x01, 0x00, 0xFF, 0xFB, 0x80, 0x3F, 0x20, 0xC1,
        ]
        let file = try SafetensorsFile(contentsOf: directory.write(safetensors(header: header, data: data), as: "m"))
        #expect(try file.floats(of: "ff") == [1, -2])
        #expect(try file.floats(of: "h") == [1, 5.9604645e-8, -65504])
        #expect(try file.floats(of: "b") == [1, -10])
    }

    @Test("Every half and bfloat16 bit pattern converts as the standard says, in chunks and tails")
    func everyPattern() throws {
        for type in ["F16", "BF16"] {
            let patterns = (0...UInt16.max).filter {
                $0 & (type == "F16" ? 0x7C00 : 0x7F80) != (type == "F16" ? 0x7C00 : 0x7F80)
            }
            let data = patterns.withUnsafeBytes { Array($0) }
            let header =
                "{\"a\":{\"dtype\":\"\(type)\",\"shape\":[\(patterns.count)],\"data_offsets\":[0,\(data.count)]}}"
            let file = try SafetensorsFile(
                contentsOf: directory.write(safetensors(header: header, data: data), as: "m")
            )
            let expected = patterns.map {
                type == "F16" ? Float(Float16(bitPattern: $0)) : Float(bitPattern: UInt32($0) << 16)
            }
            #expect(try file.floats(of: "a") == expected)
        }
    }

    @Test("Scalars, empty tensors and metadata are read")
    func edges() throws {
        let header = """
            {"__metadata__":{"format":"pt"},"scalar":{"dtype":"I64","shape":[],"data_offsets":[0,8]},\
            "empty":{"dtype":"F32","shape":[0,5],"data_offsets":[8,8]}}
            """
        let url = try directory.write(
            safetensors(header: header, data: [7, 0, 0, 0, 0, 0, 0, 0]),
            as: "m"
        )
        let file = try SafetensorsFile(contentsOf: url)
        #expect(file.metadata == ["format": "pt"])
        #expect(try file.withUnsafeBytes(of: "scalar") { $0.loadUnaligned(as: Int64.self) } == 7)
        #expect(try file.floats(of: "empty").isEmpty)
        #expect(throws: TensorFileError.self) { try file.floats(of: "scalar") }
        #expect(throws: TensorFileError.noSuchTensor(file: url.path, tensor: "x")) { try file.floats(of: "x") }
    }

    @Test(
        "NaN and infinity are refused with the place where they stand",
        arguments: [Float.nan, .infinity, -.infinity]
    )
    func nonFinite(value: Float) throws {
        let data = [1, 2, value, 4].withUnsafeBytes { Array($0) }
        let header = #"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#
        let file = try SafetensorsFile(contentsOf: directory.write(safetensors(header: header, data: data), as: "m"))
        let found = #expect(throws: TensorFileError.self) { try file.floats(of: "w") }
        guard case .nonFinite(_, "w", 2, _)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("Pages that were released are read again")
    func release() throws {
        let values = (0..<10_000).map(Float.init)
        let data = values.withUnsafeBytes { Array($0) }
        let header = #"{"w":{"dtype":"F32","shape":[10000],"data_offsets":[0,40000]}}"#
        let file = try SafetensorsFile(contentsOf: directory.write(safetensors(header: header, data: data), as: "m"))
        #expect(try file.floats(of: "w") == values)
        file.releasePages(of: "w")
        #expect(try file.floats(of: "w") == values)
    }
}
