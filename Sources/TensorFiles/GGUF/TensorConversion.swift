import Foundation
import Synchronization

/// How a tensor's stored form becomes the elements of its description: blocks of weights become floats, rows change places.
struct TensorConversion: Sendable {
    let source: GGUFTensorDescription
    /// What it is converted to: float32, float16, or the type that it is stored in.
    let target: ElementType
    let rowOrder: RotaryRowOrder?
    /// What is added to the elements; 0 unless the target is float32.
    let addend: Float

    init(
        _ source: GGUFTensorDescription, to target: ElementType, rowOrder: RotaryRowOrder? = nil, addend: Float = 0
    ) {
        self.source = source
        self.target = target
        self.rowOrder = rowOrder
        self.addend = addend
    }

    /// Weights that one part of a conversion takes: larger tensors are made by several threads.
    private static let partElements = 1 << 18

    /// Makes a tensor of its stored bytes.
    func convert(_ stored: UnsafeRawBufferPointer, to output: UnsafeMutableRawBufferPointer) {
        guard source.elementCount > 0, let input = stored.baseAddress, let output = output.baseAddress else { return }
        // A vector that is ordered has rows of one element.
        let columns = source.shape.count > 1 || rowOrder == nil ? source.columns : 1
        let rows = source.elementCount / columns
        let parts = min(rows, (source.elementCount + Self.partElements - 1) / Self.partElements)
        // The bytes that are read do not change, and every part writes to rows of its own; all are done on return.
        nonisolated(unsafe) let (from, to) = (input, output)
        DispatchQueue.concurrentPerform(iterations: parts) { part in
            convert(rows * part / parts..<rows * (part + 1) / parts, columns, from, to)
        }
    }

    private func convert(
        _ rows: Range<Int>, _ columns: Int, _ input: UnsafeRawPointer, _ output: UnsafeMutableRawPointer
    ) {
        let storedRowBytes = columns / source.type.blockSize * source.type.blockByteCount
        let rowBytes = columns * target.byteWidth
        withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { scratch in
            for row in rows {
                let from = input + (rowOrder?.storedRow(of: row) ?? row) * storedRowBytes
                let to = output + row * rowBytes
                if source.type.elementType == target, addend == 0 {
                    to.copyMemory(from: from, byteCount: rowBytes)
                } else if target == .float32 {
                    let floats = to.assumingMemoryBound(to: Float.self)
                    source.type.dequantize(from.assumingMemoryBound(to: UInt8.self), columns, floats)
                    if addend != 0 { for column in 0..<columns { floats[column] += addend } }
                } else {
                    source.type.dequantize(from.assumingMemoryBound(to: UInt8.self), columns, scratch.baseAddress!)
                    FloatConversion.storeHalves(
                        scratch.baseAddress!, columns, to.assumingMemoryBound(to: UInt16.self))
                }
            }
        }
    }
}

/// The rows of queries and keys, in Hugging Face's order, of a matrix that has them in llama.cpp's.
///
/// Both rotate the channels of a head in pairs. Hugging Face's pair i is channels i and i + d/2, llama.cpp's for the `llama`
/// architecture 2i and 2i + 1, to which its converter reorders the rows.
package struct RotaryRowOrder: Sendable, Hashable {
    package let headSize: Int

    /// - Parameter headSize: channels of a head, d; even.
    package init(headSize: Int) { self.headSize = headSize }

    /// Where a row of Hugging Face's order is stored.
    func storedRow(of row: Int) -> Int {
        let (head, channel) = row.quotientAndRemainder(dividingBy: headSize)
        let half = headSize / 2
        return head * headSize + channel % half * 2 + channel / half
    }

    /// Whether a tensor has whole heads of rows; a vector, elements that stand alone.
    func orders(_ tensor: GGUFTensorDescription) -> Bool {
        guard let rows = tensor.shape.first, tensor.shape.count <= 2, headSize > 0, headSize % 2 == 0 else {
            return false
        }
        return rows % headSize == 0 && (tensor.shape.count == 2 || tensor.type.blockSize == 1)
    }
}

/// Memory of its own for a tensor.
// Unchecked because of the pointer: who makes it fills it, and nobody writes afterwards.
final class TensorMemory: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer

    /// Nil where there is no memory.
    init?(byteCount: Int) {
        guard let base = malloc(max(byteCount, 1)) else { return nil }
        bytes = UnsafeMutableRawBufferPointer(start: base, count: byteCount)
    }

    deinit { free(bytes.baseAddress) }
}

/// The tensors of a file that were converted, as long as somebody uses them: a tied embedding is in memory once.
final class ConvertedTensors: Sendable {
    private struct Weak {
        weak var memory: TensorMemory?
    }

    private let memories = Mutex<[String: Weak]>([:])

    /// The memory of a tensor, made where nobody has it.
    func memory(of name: String, byteCount: Int, make: () throws -> TensorMemory) throws -> TensorMemory {
        try memories.withLock { memories in
            if let memory = memories[name]?.memory { return memory }
            let memory = try make()
            memories[name] = Weak(memory: memory)
            return memory
        }
    }
}
