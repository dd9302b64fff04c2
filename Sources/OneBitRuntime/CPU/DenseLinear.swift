import CSignKernels
import Foundation
import LanguageModel
import ModelDescription
import Synchronization
import TensorFiles

/// What the weights and inputs of dense layers are rounded to before they are multiplied. Sums are in 32-bit floats.
public enum DenseArithmetic: String, Sendable, CaseIterable {
    /// Twice as many products at a time as floats, on CPUs that have them (AVX-512 BF16).
    case bfloat16
    /// Nothing is rounded; weights stay in the type of their file.
    case float32
}

/// One version of the products with dense matrices.
// Unchecked because of the pointer: it leads to a constant table of functions.
struct DenseKernels: @unchecked Sendable {
    let table: UnsafePointer<sign_kernels_dense_table>

    var name: String { String(cString: table.pointee.name) }
    var arithmetic: DenseArithmetic { DenseArithmetic(rawValue: String(cString: table.pointee.arithmetic)) ?? .float32 }

    /// Those that this CPU can run, best first.
    static var available: [DenseKernels] {
        var kernels: [DenseKernels] = []
        var index = 0
        while let name = sign_kernels_known_dense_name(index) {
            if let table = sign_kernels_find_dense(name) { kernels.append(DenseKernels(table: table)) }
            index += 1
        }
        return kernels
    }

    /// The best that this CPU can run; nil where it has none of that arithmetic.
    static func best(_ arithmetic: DenseArithmetic? = nil) -> DenseKernels? {
        available.first { arithmetic == nil || $0.arithmetic == arithmetic }
    }
}

/// A matrix of floats in the panels that the kernels want, made at load.
// Unchecked because of the buffer: nothing writes after `init`.
final class DenseMatrix: @unchecked Sendable {
    static let panelRows = Int(SIGN_KERNELS_PANEL_ROWS)

    let rows: Int
    let columns: Int
    let kernels: DenseKernels
    private let type: sign_kernels_float_type
    private let panels: Buffer<UInt8>

    var panelCount: Int { (rows + Self.panelRows - 1) / Self.panelRows }
    var byteCount: Int { panels.count }

    /// - Parameter matrix: a tensor [rows, columns] that the checkpoint has checked to be one of floats.
    /// - Throws: `TensorFileError.nonFinite(file:tensor:index:found:)`, ``RuntimeError/outOfMemory(bytes:)``,
    ///   `CancellationError`
    init(_ matrix: TensorShape, of checkpoint: Checkpoint, kernels: DenseKernels, pool: ThreadPool) throws {
        let tensor = try checkpoint.mapped(matrix.name)
        let stored = sign_kernels_float_type(tensor.description.elementType)
        let (rows, columns) = (matrix.shape[0], matrix.shape[1])
        let type = kernels.table.pointee.panel_type(stored)
        let count = (rows + Self.panelRows - 1) / Self.panelRows
        let panels = try Buffer<UInt8>(
            count: count * kernels.table.pointee.panel_bytes(type, columns), alignment: Int(SIGN_KERNELS_ALIGNMENT))
        let isFinite = Atomic<Bool>(true)
        try pool.parallelFor(count, grain: 16) { range in
            kernels.table.pointee.pack(
                tensor.bytes.baseAddress!, stored, rows, columns, range.lowerBound, range.upperBound, panels.pointer)
            let rows = range.lowerBound * Self.panelRows..<min(range.upperBound * Self.panelRows, rows)
            if !stored.isFinite(tensor.bytes.baseAddress!, rows.lowerBound * columns..<rows.upperBound * columns) {
                isFinite.store(false, ordering: .relaxed)
            }
        }
        // Reading them as floats names the first that is not.
        if !isFinite.load(ordering: .relaxed) { _ = try checkpoint.floats(of: matrix.name) }
        try checkpoint.releasePages(of: matrix.name)
        (self.rows, self.columns, self.kernels, self.type, self.panels) = (rows, columns, kernels, type, panels)
    }

    /// y = x Wᵀ for the rows of some panels: x [tokens] packed, y [tokens, rows].
    func product(
        panels range: Range<Int>, _ x: UnsafeRawPointer, tokens: Int, into y: UnsafeMutablePointer<Float>
    ) {
        kernels.table.pointee.product(
            panels.pointer, type, rows, columns, range.lowerBound, range.upperBound, x, tokens, y, rows)
    }
}

/// A linear layer that is not packed: x Wᵀ + b.
final class DenseLinear: Sendable {
    /// W, `X.weight`
    let weight: DenseMatrix
    /// b, `X.bias`
    let bias: FloatVector?

    init(_ linear: LinearDescription, of checkpoint: Checkpoint, kernels: DenseKernels, pool: ThreadPool) throws {
        weight = try DenseMatrix(
            TensorShape(name: linear.weightName, shape: [linear.outputs, linear.inputs]), of: checkpoint,
            kernels: kernels, pool: pool)
        bias = try linear.bias.map { try FloatVector($0.name, of: checkpoint) }
    }

    /// Without a bias.
    init(_ weight: DenseMatrix) {
        self.weight = weight
        bias = nil
    }
}

/// Dense layers that read the same input. Their products are one loop.
struct DenseLinearGroup: Sendable {
    /// Panels that one part of the loop takes.
    private static let partPanels = 3
    /// Inputs that one part of the loop over them packs.
    private static let partInputs = 8

    private let linears: [DenseLinear]
    private let partCounts: [Int]
    private let inputs: Int
    private let inputBytes: Int

    var byteCount: Int { linears.reduce(0) { $0 + $1.weight.byteCount } }

    init(_ linears: [DenseLinear]) {
        self.linears = linears
        inputs = linears[0].weight.columns
        inputBytes = linears[0].weight.kernels.table.pointee.input_bytes(inputs)
        partCounts = linears.map { ($0.weight.panelCount + Self.partPanels - 1) / Self.partPanels }
    }

    /// x: [rows, inputs]; output(i): where layer i writes [rows, its outputs].
    ///
    /// - Parameter output: called by every worker; must give all of them the same.
    func callAsFunction(
        _ x: UnsafePointer<Float>, rows: Int, _ pass: ForwardPass, output: (Int) -> UnsafeMutablePointer<Float>
    ) {
        let packed = pass.activations.denseInputs.pointer
        pass.parallelFor(rows, grain: Self.partInputs) { range in
            let pack = linears[0].weight.kernels.table.pointee.pack_input
            for row in range { pack(x + row * inputs, inputs, packed + row * inputBytes) }
        }
        pass.parallelFor(partCounts.reduce(0, +)) { range in
            for index in range {
                var (linear, part) = (0, index)
                while part >= partCounts[linear] {
                    part -= partCounts[linear]
                    linear += 1
                }
                let weight = linears[linear].weight
                let panels =
                    part * Self.partPanels..<min((part + 1) * Self.partPanels, weight.panelCount)
                let y = output(linear)
                weight.product(panels: panels, packed, tokens: rows, into: y)
                guard let bias = linears[linear].bias else { continue }
                let first = panels.lowerBound * DenseMatrix.panelRows
                let count = min(panels.upperBound * DenseMatrix.panelRows, weight.rows) - first
                for row in 0..<rows {
                    pass.kernels.pointee.add(bias.pointer + first, count, y + row * weight.rows + first)
                }
            }
        }
    }
}

extension sign_kernels_float_type {
    init(_ type: ElementType) {
        switch type {
        case .float16: self = SIGN_KERNELS_FLOAT16
        case .bfloat16: self = SIGN_KERNELS_BFLOAT16
        case .float32, .int8, .uint8, .int32, .int64: self = SIGN_KERNELS_FLOAT32
        }
    }

    /// Whether none of the numbers in `range` is NaN or infinite: these have all bits of the exponent set.
    fileprivate func isFinite(_ base: UnsafeRawPointer, _ range: Range<Int>) -> Bool {
        func isFinite<Bits: FixedWidthInteger>(_: Bits.Type, exponent: Bits) -> Bool {
            var found: Bits = 0
            for index in range {
                let bits = base.loadUnaligned(fromByteOffset: index * MemoryLayout<Bits>.size, as: Bits.self)
                found |= bits & exponent == exponent ? 1 : 0
            }
            return found == 0
        }
        switch self {
        case SIGN_KERNELS_FLOAT16: return isFinite(UInt16.self, exponent: 0x7c00)
        case SIGN_KERNELS_BFLOAT16: return isFinite(UInt16.self, exponent: 0x7f80)
        default: return isFinite(UInt32.self, exponent: 0x7f80_0000)
        }
    }
}
