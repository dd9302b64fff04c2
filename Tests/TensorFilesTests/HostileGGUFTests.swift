import Foundation
import JSON
import TestSupport
import Testing

@testable import TensorFiles

/// Files that a stranger wrote to hurt, or that a download broke off: each must give an error and do nothing else.
struct HostileGGUFTests {
    let directory: TemporaryDirectory
    private let good: [UInt8]

    init() throws {
        directory = try TemporaryDirectory()
        good = Array(try Data(contentsOf: GGUFReference.url("values.gguf")))
    }

    /// Opens bytes and reads all tensors; nil where that goes well.
    @discardableResult
    private func error(_ bytes: [UInt8]) throws -> GGUFError? {
        let url = try directory.write(Data(bytes), as: "hostile.gguf")
        do {
            let file = try GGUFFile(contentsOf: url)
            for name in file.tensors.keys { _ = try? file.floats(of: name) }
            return nil
        } catch let error as GGUFError {
            #expect(error.localizedDescription.hasPrefix(url.path))
            return error
        }
    }

    @Test("A file that ends anywhere before its last byte of data is refused")
    func truncation() throws {
        let file = try GGUFFile(contentsOf: GGUFReference.url("values.gguf"))
        let end = try #require(file.contents.ranges.values.map(\.upperBound).max())
        for count in 0..<end { #expect(try error(Array(good[..<count])) != nil, "\(count)") }
        #expect(try error(Array(good[..<end])) == nil)
    }

    @Test("Any byte of the header may be any other: it is refused or read, and nothing else")
    func flippedBytes() throws {
        let file = try GGUFFile(contentsOf: GGUFReference.url("values.gguf"))
        let start = try #require(file.contents.ranges.values.map(\.lowerBound).min())
        for index in 0..<start {
            for value in [0, 1, 0x7F, 0x80, 0xFF] where value != good[index] {
                var bytes = good
                bytes[index] = UInt8(value)
                try error(bytes)
            }
        }
    }

    @Test("Eight bytes of ones anywhere in the header are refused or read, and nothing else")
    func hugeNumbers() throws {
        for value in [UInt64.max, UInt64(Int64.max), 1 << 32, 1 << 62] {
            for index in 8..<good.count - 8 {
                var bytes = good
                withUnsafeBytes(of: value.littleEndian) { bytes.replaceSubrange(index..<index + 8, with: $0) }
                try error(bytes)
            }
        }
    }

    // MARK: Particular faults

    private func header(version: UInt32 = 3, tensors: UInt64, keys: UInt64, _ body: (inout GGUFEncoder) -> Void)
        -> [UInt8]
    {
        var encoder = GGUFEncoder()
        for byte in GGUFHeader.magic { encoder.append(byte) }
        encoder.append(version)
        encoder.append(tensors)
        encoder.append(keys)
        body(&encoder)
        return encoder.bytes
    }

    private func pair(_ encoder: inout GGUFEncoder, _ key: String, _ value: GGUFValue) {
        encoder.append(key)
        encoder.append(value.type.rawValue)
        encoder.append(value)
    }

    private func tensor(
        _ encoder: inout GGUFEncoder, _ name: String, _ extents: [UInt64], type: UInt32 = 0, offset: UInt64 = 0
    ) {
        encoder.append(name)
        encoder.append(UInt32(extents.count))
        for extent in extents { encoder.append(extent) }
        encoder.append(type)
        encoder.append(offset)
    }

    @Test("Other files, other versions and big-endian files are refused as such")
    func kinds() throws {
        guard case .notGGUF? = try error(Array("PK\u{3}\u{4}xxxx".utf8)), case .notGGUF? = try error([]),
            case .unsupportedVersion(_, 1)? = try error(header(version: 1, tensors: 0, keys: 0) { _ in }),
            case .unsupportedVersion(_, 4)? = try error(header(version: 4, tensors: 0, keys: 0) { _ in }),
            case .bigEndian? = try error(header(version: UInt32(3).byteSwapped, tensors: 0, keys: 0) { _ in })
        else { return fail("another error") }
        #expect(try error(header(tensors: 0, keys: 0) { _ in }) == nil)
    }

    @Test("Counts that no file has are refused before anything is made of them")
    func counts() throws {
        guard case .tooMany(_, "tensors", .max, _)? = try error(header(tensors: .max, keys: 0) { _ in }),
            case .tooMany(_, "metadata keys", .max, _)? = try error(header(tensors: 0, keys: .max) { _ in }),
            case .truncated? = try error(header(tensors: 1000, keys: 1000) { _ in })
        else { return fail("another error") }
        for type in GGUFValueType.allCases {
            for count in [UInt64.max, UInt64.max / 12 + 1, 1 << 62, 1 << 40] {
                let found = try error(
                    header(tensors: 0, keys: 1) { encoder in
                        encoder.append("a")
                        encoder.append(GGUFValueType.array.rawValue)
                        encoder.append(type.rawValue)
                        encoder.append(count)
                    })
                guard case .truncated(_, "\"a\"", _, _)? = found else { return fail("\(String(describing: found))") }
            }
        }
    }

    @Test("Arrays nested a hundred thousand deep are refused")
    func nesting() throws {
        let found = try error(
            header(tensors: 0, keys: 1) { encoder in
                encoder.append("a")
                for _ in 0..<100_000 {
                    encoder.append(GGUFValueType.array.rawValue)
                    encoder.append(GGUFValueType.array.rawValue)
                    encoder.append(UInt64(1))
                }
            })
        #expect(found != nil)
    }

    @Test("Two equal keys and two equal tensors are refused, by name")
    func duplicates() throws {
        let keys = header(tensors: 0, keys: 2) { encoder in
            for _ in 0..<2 { pair(&encoder, "a", .uint8(1)) }
        }
        let tensors = header(tensors: 2, keys: 0) { encoder in
            for _ in 0..<2 { tensor(&encoder, "t", [1]) }
        }
        guard case .duplicateKey(_, "a")? = try error(keys), case .duplicateTensor(_, "t")? = try error(tensors) else {
            return fail("another error")
        }
    }

    @Test("A key or name that is not UTF-8 is refused")
    func notUTF8() throws {
        var bytes = header(tensors: 0, keys: 1) { pair(&$0, "ab", .uint8(1)) }
        bytes[32] = 0xFF
        guard case .notUTF8? = try error(bytes) else { return fail("another error") }
    }

    @Test("Types that are not known, or not read, are refused by name")
    func types() throws {
        guard
            case .unknownValueType(_, "\"a\"", 13)? = try error(
                header(tensors: 0, keys: 1) {
                    $0.append("a")
                    $0.append(UInt32(13))
                }),
            case .unsupportedTensorType(_, "t", "IQ4_XS")? = try error(
                header(tensors: 1, keys: 0) { tensor(&$0, "t", [256], type: 23) }),
            case .unsupportedTensorType(_, "t", "99")? = try error(
                header(tensors: 1, keys: 0) { tensor(&$0, "t", [256], type: 99) })
        else { return fail("another error") }
    }

    @Test(
        "Shapes that overflow, have too many dimensions or no whole blocks are refused",
        arguments: [
            ([1 << 32, 1 << 32], 0), ([UInt64.max], 0), ([1 << 62, 2], 0), ([31], 8), ([255], 12), ([32, 1 << 58], 8),
        ] as [([UInt64], UInt32)])
    func shapes(extents: [UInt64], type: UInt32) throws {
        let found = try error(header(tensors: 1, keys: 0) { tensor(&$0, "t", extents, type: type) })
        guard case .badShape(_, "t", _, _)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("Data outside of the file, at odd places, or shared are refused")
    func ranges() throws {
        func file(_ offsets: [UInt64], alignment: UInt32? = nil) throws -> GGUFError? {
            try error(
                header(tensors: UInt64(offsets.count), keys: alignment == nil ? 0 : 1) { encoder in
                    if let alignment { pair(&encoder, "general.alignment", .uint32(alignment)) }
                    for (index, offset) in offsets.enumerated() { tensor(&encoder, "t\(index)", [16], offset: offset) }
                } + [UInt8](repeating: 0, count: 1024))
        }
        #expect(try file([0, 64]) == nil)
        guard case .rangePastEnd(_, "t0", _, 64, _)? = try file([UInt64.max - 31]),
            case .rangePastEnd? = try file([1 << 20]), case .misaligned(_, "t0", 1, 32)? = try file([1]),
            case .overlap(_, "t1", "t0")? = try file([0, 32]), case .wrongValue? = try file([0], alignment: 24),
            case .wrongValue? = try file([0], alignment: 0), case .wrongValue? = try file([0], alignment: 1 << 31)
        else { return fail("another error") }
    }

    @Test("No tensor has no dimensions, or five")
    func dimensions() throws {
        for extents in [[], [1, 1, 1, 1, 1]] as [[UInt64]] {
            let found = try error(header(tensors: 1, keys: 0) { tensor(&$0, "t", extents) })
            guard case .wrongValue? = found else { return fail("\(String(describing: found))") }
        }
    }
}
