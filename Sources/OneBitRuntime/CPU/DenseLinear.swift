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

    /// The one that is faster on this machine, for text that need not be the model's own to the last digit.
    public static var fastest: DenseArithmetic {
        get throws { DenseKernels.best(nil, of: try InstructionSet.selected())?.arithmetic ?? .float32 }
    }
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

    /// The best of an instruction set, whose versions of the products are fewer and more than those of the sign products; nil
    /// where it has none of that arithmetic.
    static func best(_ arithmetic: DenseArithmetic?, of instructionSet: InstructionSet) -> DenseKernels? {
        func family(_ name: String) -> Substring { name.hasPrefix("avx512") ? "avx512" : name[...] }
        return available.first {
            (arithmetic == nil || $0.arithmetic == arithmetic) && family($0.name) == family(instructionSet.name)
        }
    }
}

/// A matrix of floats, where its file is mapped.
struct DenseMatrix: Sendable {
    /// Numbers that one part of the look at all of them takes.
    private static let partNumbers = 1 << 18

    let rows: Int
    let columns: Int
    let kernels: DenseKernels
    private let tensor: MappedTensor
    private let type: sign_kernels_float_type

    /// Bytes that a product reads.
    var byteCount: Int { tensor.bytes.count }

    /// Looks at all numbers, at the speed of memory, or of the disk where the file is not in memory yet.
    ///
    /// - Parameter matrix: a tensor [rows, columns] that the checkpoint has checked to be one of floats.
    /// - Throws: `TensorFileError.nonFinite(file:tensor:index:found:)`, `CancellationError`
    init(_ matrix: TensorShape, of checkpoint: Checkpoint, kernels: DenseKernels, pool: ThreadPool) throws {
        (rows, columns) = (matrix.shape[0], matrix.shape[1])
        self.kernels = kernels
        let tensor = try checkpoint.mapped(matrix.name)
        let type = sign_kernels_float_type(tensor.description.elementType)
        (self.tensor, self.type) = (tensor, type)
        let isFinite = Atomic<Bool>(true)
        let width = tensor.description.elementType.byteWidth
        try pool.parallelFor(tensor.description.elementCount, grain: Self.partNumbers) { range in
            let first = tensor.bytes.baseAddress! + range.lowerBound * width
            if !kernels.table.pointee.is_finite(first, type, range.count) {
                isFinite.store(false, ordering: .relaxed)
            }
        }
        // Reading them as floats names the first that is not.
        if !isFinite.load(ordering: .relaxed) { _ = try checkpoint.floats(of: matrix.name) }
    }

    /// y = x Wᵀ for some rows of W: x [tokens] packed, y [tokens, rows].
    func product(
        rows range: Range<Int>, _ x: UnsafeRawPointer, tokens: Int, into y: UnsafeMutablePointer<Float>
    ) {
        kernels.table.pointee.product(
            tensor.bytes.baseAddress!, type, columns, range.lowerBound, range.upperBound, x, tokens, y, rows)
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
    /// Rows of a matrix that one part of the loop takes: few enough to share out evenly, and a whole number of the kernels'
    /// tiles.
    private static let partRows = 48
    /// Inputs that one part of the loop over them packs.
    private static let partInputs = 8

    private let linears: [DenseLinear]
    private let partCounts: [Int]
    private let inputs: Int
    private let inputBytes: Int
    private let rounding: InputRounding?

    var byteCount: Int { linears.reduce(0) { $0 + $1.weight.byteCount } }

    /// - Parameter rounding: of the inputs; nil leaves them as they are.
    init(_ linears: [DenseLinear], rounding: InputRounding? = nil) {
        self.linears = linears
        self.rounding = rounding
        inputs = linears[0].weight.columns
        inputBytes = linears[0].weight.kernels.table.pointee.input_bytes(inputs)
        partCounts = linears.map { ($0.weight.rows + Self.partRows - 1) / Self.partRows }
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
            for row in range {
                let input = x + row * inputs
                pack(rounding?.round(input, pass) ?? input, inputs, packed + row * inputBytes)
            }
        }
        pass.parallelFor(partCounts.reduce(0, +)) { range in
            for index in range {
                var (linear, part) = (0, index)
                while part >= partCounts[linear] {
                    part -= partCounts[linear]
                    linear += 1
                }
                let weight = linears[linear].weight
                let outputs = part * Self.partRows..<min((part + 1) * Self.partRows, weight.rows)
                let y = output(linear)
                weight.product(rows: outputs, packed, tokens: rows, into: y)
                guard let bias = linears[linear].bias else { continue }
                for row in 0..<rows {
                    pass.kernels.pointee.add(
                        bias.pointer + outputs.lowerBound, outputs.count, y + row * weight.rows + outputs.lowerBound)
                }
            }
        }
    }
}

/// Rounds what dense layers read as sign layers would: what a precision costs, measured on a model whose weights are whole.
struct InputRounding: Sendable {
    private let precision: InputPrecision
    private let inputs: Int
    /// g = 1
    private let ones: FloatVector

    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(_ precision: InputPrecision, inputs: Int) throws {
        self.precision = precision
        self.inputs = inputs
        ones = try FloatVector([Float](repeating: 1, count: inputs))
    }

    /// q s, q = round(x / s), in memory of the worker's.
    func round(_ x: UnsafePointer<Float>, _ pass: ForwardPass) -> UnsafePointer<Float> {
        let (integers, rounded) = pass.activations.roundedInput(worker: pass.worker.index)
        let quantize =
            precision == .bits10 ? pass.kernels.pointee.quantize_10bit : pass.kernels.pointee.quantize_16bit
        let scale = quantize(x, ones.pointer, inputs, integers, inputs).scale
        for index in 0..<inputs { rounded[index] = Float(integers[index]) * scale }
        return UnsafePointer(rounded)
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
}
