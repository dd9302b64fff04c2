import Foundation
import JSON

/// Writes a GGUF file, version 3: metadata, then tensors as they come, one at a time, in the order of a plan made beforehand.
///
/// No tensor is kept: memory is that of one row. The file appears under its name when it is complete; a writer that fails, or is
/// released before ``finish()``, leaves nothing.
///
///     let writer = try GGUFWriter(destination: url, metadata: metadata, tensors: plan)
///     for tensor in plan { try writer.write(tensor.name, floats: floats(of: tensor)) }
///     try writer.finish()
public final class GGUFWriter {
    /// Bytes that the file takes.
    public let byteCount: Int

    private let path: String
    private let tensors: [GGUFTensorDescription]
    /// Where each tensor starts.
    private let offsets: [Int]
    private let file: StagedFile
    private var next = 0

    /// Plans the file, checks that it fits on the volume and writes the header. A file of that name is replaced in the end.
    ///
    /// - Parameters:
    ///   - destination: The file.
    ///   - metadata: in the order in which they are written; `general.alignment` is what tensors are aligned to, 32 without it.
    ///   - tensors: names, types and shapes in the order in which they will be written.
    /// - Throws: ``GGUFError``, `FileError`.
    public init(destination: URL, metadata: GGUFMetadata, tensors: [GGUFTensorDescription]) throws {
        path = destination.path
        self.tensors = tensors
        let key = GGUFHeader.alignmentKey
        let alignment = try metadata.integer(key, in: 1...1 << 20) ?? GGUFHeader.defaultAlignment
        guard alignment & (alignment - 1) == 0 else {
            throw GGUFError.wrongValue(file: path, key: key, expected: "a power of two", found: "\(alignment)")
        }
        func aligned(_ offset: Int) -> Int { (offset + alignment - 1) / alignment * alignment }

        var names = Set<String>()
        var dataOffsets: [Int] = []
        var dataBytes = 0
        for tensor in tensors {
            guard names.insert(tensor.name).inserted else {
                throw GGUFError.duplicateTensor(file: path, tensor: tensor.name)
            }
            guard (1...GGUFHeader.maximumDimensions).contains(tensor.shape.count), tensor.shape.allSatisfy({ $0 >= 0 }),
                let bytes = tensor.checkedByteCount, bytes < Int.max / 4 - dataBytes
            else {
                throw GGUFError.badShape(
                    file: path, tensor: tensor.name, type: tensor.type.name,
                    shape: tensor.shape.map { UInt64(max(0, $0)) })
            }
            dataOffsets.append(dataBytes)
            dataBytes = aligned(dataBytes + bytes)
        }
        let header = Self.header(metadata, tensors, dataOffsets)
        let dataStart = aligned(header.count)
        offsets = dataOffsets.map { dataStart + $0 }
        byteCount = dataStart + dataBytes

        file = try StagedFile(destination: destination)
        let directory = destination.deletingLastPathComponent().path
        if let available = availableBytes(at: directory), available < byteCount {
            throw FileError.notEnoughSpace(
                directory: directory, neededBytes: byteCount, availableBytes: available)
        }
        try header.withUnsafeBytes { try file.write($0, at: 0) }
        // The last tensor is padded too; where nothing is written between tensors, there are zeros.
        let end = tensors.last.map { (offsets.last ?? 0) + ($0.checkedByteCount ?? 0) } ?? header.count
        let padding = byteCount - end
        if padding > 0 {
            try [UInt8](repeating: 0, count: padding).withUnsafeBytes { try file.write($0, at: byteCount - padding) }
        }
    }

    private static func header(
        _ metadata: GGUFMetadata, _ tensors: [GGUFTensorDescription], _ offsets: [Int]
    ) -> [UInt8] {
        var encoder = GGUFEncoder()
        for byte in GGUFHeader.magic { encoder.append(byte) }
        encoder.append(UInt32(3))
        encoder.append(UInt64(tensors.count))
        encoder.append(UInt64(metadata.keys.count))
        for key in metadata.keys {
            guard let value = metadata[key] else { continue }
            encoder.append(key)
            encoder.append(value.type.rawValue)
            encoder.append(value)
        }
        for (tensor, offset) in zip(tensors, offsets) {
            encoder.append(tensor.name)
            encoder.append(UInt32(tensor.shape.count))
            for extent in tensor.shape.reversed() { encoder.append(UInt64(extent)) }
            encoder.append(tensor.type.rawValue)
            encoder.append(UInt64(offset))
        }
        return encoder.bytes
    }

    /// Writes the next tensor of the plan, converted to the planned type: rounded to the nearest float, or quantized by blocks as
    /// ggml does (F32, F16, BF16, Q8_0 and Q1_0).
    ///
    /// - Throws: ``GGUFError``, ``CheckpointWriterError``, ``TensorFileError/nonFinite(file:tensor:index:found:)``, `FileError`.
    public func write(_ name: String, floats: [Float]) throws {
        let (tensor, offset) = try planned(name)
        guard let quantize = tensor.type.quantizer else {
            throw GGUFError.unsupportedValue(
                file: path, key: name, found: "writing \(tensor.type.name)",
                supported: GGUFTensorType.allCases.filter { $0.quantizer != nil }.map(\.name).joined(separator: ", "))
        }
        try checkCount(tensor, floats.count)
        if let index = FloatConversion.firstNonFinite(floats) {
            throw TensorFileError.nonFinite(file: path, tensor: name, index: index, found: floats[index])
        }
        if let index = tensor.type.firstTooLarge(floats) {
            throw GGUFError.valueOutOfRange(
                file: path, tensor: name, index: index, value: floats[index], type: tensor.type.name)
        }
        let rowBytes = tensor.columns / tensor.type.blockSize * tensor.type.blockByteCount
        try floats.withUnsafeBufferPointer { floats in
            var row = [UInt8](repeating: 0, count: rowBytes)
            for index in 0..<(tensor.columns > 0 ? floats.count / tensor.columns : 0) {
                row.withUnsafeMutableBufferPointer {
                    quantize(floats.baseAddress! + index * tensor.columns, tensor.columns, $0.baseAddress!)
                }
                try row.withUnsafeBytes { try file.write($0, at: offset + index * rowBytes) }
            }
        }
        next += 1
    }

    /// Writes the next tensor of the plan from bytes as they are stored: rows of whole blocks.
    ///
    /// - Throws: ``CheckpointWriterError``, `FileError`.
    public func write(_ name: String, bytes: UnsafeRawBufferPointer) throws {
        let (tensor, offset) = try planned(name)
        let expected = tensor.checkedByteCount ?? 0
        guard bytes.count == expected else {
            try checkCount(tensor, bytes.count / tensor.type.blockByteCount * tensor.type.blockSize)
            throw CheckpointWriterError.wrongCount(
                file: path, tensor: name, expected: tensor.elementCount, found: bytes.count)
        }
        try file.write(bytes, at: offset)
        next += 1
    }

    /// Brings everything to the disk and gives the file its name.
    ///
    /// - Throws: ``CheckpointWriterError/incomplete(file:missing:)``, `FileError`.
    public func finish() throws {
        guard next == tensors.count else {
            throw CheckpointWriterError.incomplete(file: path, missing: tensors[next].name)
        }
        try file.commit()
    }

    private func planned(_ name: String) throws -> (GGUFTensorDescription, Int) {
        guard next < tensors.count, tensors[next].name == name else {
            throw CheckpointWriterError.outOfOrder(
                file: path, expected: next < tensors.count ? tensors[next].name : nil, found: name)
        }
        return (tensors[next], offsets[next])
    }

    private func checkCount(_ tensor: GGUFTensorDescription, _ found: Int) throws {
        guard found == tensor.elementCount else {
            throw CheckpointWriterError.wrongCount(
                file: path, tensor: tensor.name, expected: tensor.elementCount, found: found)
        }
    }
}

/// From floats to blocks, for the types that are written: the bytes of ggml's reference quantization.
extension GGUFTensorType {
    /// Quantizes a row: floats, their number, room for the blocks.
    fileprivate typealias Quantizer = (UnsafePointer<Float>, Int, UnsafeMutablePointer<UInt8>) -> Void

    /// Nil for types that are only read.
    fileprivate var quantizer: Quantizer? {
        switch self {
        case .f32:
            { floats, count, row in
                UnsafeMutableRawPointer(row).copyMemory(from: floats, byteCount: count * MemoryLayout<Float>.size)
            }
        case .f16:
            { floats, count, row in
                for index in 0..<count { Self.store(FloatConversion.half(floats[index]), row + index * 2) }
            }
        case .bf16:
            { floats, count, row in
                for index in 0..<count { Self.store(FloatConversion.bfloat16(floats[index]), row + index * 2) }
            }
        case .q80:
            { floats, count, row in
                for block in 0..<count / 32 { Self.quantizeBytes(floats + block * 32, row + block * 34) }
            }
        case .q10:
            { floats, count, row in
                for block in 0..<count / 128 { Self.quantizeSigns(floats + block * 128, row + block * 18) }
            }
        default: nil
        }
    }

    /// The first value that the type, or the scale of its block, cannot hold.
    fileprivate func firstTooLarge(_ floats: [Float]) -> Int? {
        switch self {
        case .f16, .q10: floats.firstIndex { $0.magnitude >= 65520 }
        // The scale is a 127th of the largest magnitude.
        case .q80: floats.firstIndex { $0.magnitude / 127 >= 65520 }
        case .bf16: floats.firstIndex { Float(bitPattern: UInt32(FloatConversion.bfloat16($0)) << 16).isInfinite }
        default: nil
        }
    }

    private static func store(_ word: UInt16, _ bytes: UnsafeMutablePointer<UInt8>) {
        bytes[0] = UInt8(truncatingIfNeeded: word)
        bytes[1] = UInt8(truncatingIfNeeded: word >> 8)
    }

    /// d = max |x| / 127, q = x / d rounded to nearest, halves away from zero.
    private static func quantizeBytes(_ x: UnsafePointer<Float>, _ block: UnsafeMutablePointer<UInt8>) {
        var largest: Float = 0
        for index in 0..<32 { largest = max(largest, x[index].magnitude) }
        let d = largest / 127
        let inverse = d == 0 ? 0 : 1 / d
        store(FloatConversion.half(d), block)
        for index in 0..<32 {
            let q = (x[index] * inverse).rounded(.toNearestOrAwayFromZero)
            block[2 + index] = UInt8(bitPattern: Int8(max(-127, min(127, q))))
        }
    }

    /// d = mean |x|, a bit of 1 where x is not negative. Exact for rows of ±d.
    private static func quantizeSigns(_ x: UnsafePointer<Float>, _ block: UnsafeMutablePointer<UInt8>) {
        var sum: Float = 0
        for index in 0..<128 { sum += x[index].magnitude }
        store(FloatConversion.half(sum / 128), block)
        for byte in 0..<16 {
            var bits: UInt8 = 0
            for bit in 0..<8 where x[byte * 8 + bit] >= 0 { bits |= 1 << UInt8(bit) }
            block[2 + byte] = bits
        }
    }
}
