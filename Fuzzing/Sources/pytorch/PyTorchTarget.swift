import Foundation
import FuzzSupport
import JSON
import TensorFiles

// The input is a PyTorch checkpoint, or, where it does not begin like a zip archive, the pickle of one with a storage of
// 64 bytes: mutated archives seldom get as far as their pickle.

private let directory = ScratchDirectory()
private let file = directory.url.appending(path: "pytorch_model.bin")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = UnsafeRawBufferPointer(start: start, count: count)
    if input.starts(with: "PK".utf8) {
        directory.put(input, at: "pytorch_model.bin")
    } else {
        archive(pickle: Array(input)).withUnsafeBytes { directory.put($0, at: "pytorch_model.bin") }
    }
    let opened = refusing(with: PyTorchError.self, FileError.self) { try PyTorchFile(contentsOf: file) }
    guard let opened else { return 0 }
    for (name, description) in opened.tensors {
        let bytes = refusing { try opened.withUnsafeBytes(of: name) { Array($0) } }
        let mapped = refusing { try opened.mapped(name) }
        require(bytes?.count == description.byteCount, "a tensor's bytes do not fit its shape")
        require(bytes?.count ?? 0 <= max(count, 64), "more tensor bytes than file bytes")
        require(mapped?.bytes.elementsEqual(bytes ?? []) == true, "mapped and called bytes differ")
        let floats = refusing(with: TensorFileError.self) { try opened.floats(of: name) }
        if let floats { require(floats.count == description.elementCount, "a tensor's floats do not fit its shape") }
        opened.releasePages(of: name)
    }
    return 0
}

/// A zip archive of a pickle and of a storage that counts from 0 to 63.
private func archive(pickle: [UInt8]) -> [UInt8] {
    func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian, Array.init)
    }
    var file: [UInt8] = []
    var records: [UInt8] = []
    let entries = [("a/data.pkl", pickle), ("a/data/0", Array(0..<64))]
    for (name, bytes) in entries {
        let offset = UInt32(file.count)
        let sizes = little(UInt32(bytes.count)) + little(UInt32(bytes.count))
        let zeros = { [UInt8](repeating: 0, count: $0) }
        file += [0x50, 0x4B, 3, 4] + zeros(14) + sizes + little(UInt16(name.utf8.count)) + zeros(2) + name.utf8 + bytes
        records += [0x50, 0x4B, 1, 2] + zeros(16) + sizes + little(UInt16(name.utf8.count)) + zeros(12)
        records += little(offset) + name.utf8
    }
    let place = little(UInt32(records.count)) + little(UInt32(file.count))
    return file + records + [0x50, 0x4B, 5, 6, 0, 0, 0, 0, 2, 0, 2, 0] + place + [0, 0]
}
