import CSignKernels

/// Integers and look-up tables of the sign products of one forward pass.
///
/// A slot is what one token gives one layer. Only so many tokens have slots at a time that their tables stay in the
/// second-level cache, where every tile of a matrix looks them up.
final class SignProductScratch {
    /// Rows of a matrix that one part of a loop takes.
    static let partRows = 256
    /// Quadruples of groups that one part of building tables takes.
    static let quadsPerPiece = 32
    /// Layers that share an input at most: q, k, v.
    private static let linearsPerGroup = 3
    private static let tokensAtMost = 16
    private static let tableBudget = 1 << 20

    let layout: SignLayout
    private let kernels: Kernels
    private let precision: InputPrecision
    /// Tokens that have slots.
    private let tokenSlots: Int
    private let inputStride: Int
    private let tableStride: Int
    /// q, as int16 or int8: [slot, inputStride]
    private let quantized: Buffer<Int16>
    /// s and Σ|q|: [slot]
    private let results: Buffer<sign_kernels_quantized>
    /// [slot, tableStride]
    private let tables: Buffer<UInt8>
    /// q Sᵀ of a part: [member, token, partRows]
    private let partSums: Buffer<Int32>

    /// - Parameters:
    ///   - tokens: most tokens of a forward pass.
    ///   - widest: inputs of the widest layer.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(tokens: Int, widest: Int, threads: Int, execution: Execution) throws {
        layout = execution.instructionSet.layout
        kernels = execution.kernels
        precision = execution.inputPrecision
        tokenSlots = min(tokens, Self.tokensAtMost)
        let padding = Int(SIGN_KERNELS_INPUT_PADDING)
        inputStride = (widest + padding - 1) / padding * padding
        let bytes = Self.tableBytes(inputs: widest, kernels: kernels, precision: precision)
        let alignment = Int(SIGN_KERNELS_ALIGNMENT)
        tableStride = (bytes + alignment - 1) / alignment * alignment
        let slots = Self.linearsPerGroup * tokenSlots
        quantized = try Buffer(count: slots * inputStride)
        results = try Buffer(count: slots)
        tables = try Buffer(count: slots * tableStride)
        partSums = try Buffer(count: threads * tokenSlots * Self.partRows)
    }

    /// Tokens of layers with that many inputs that should be worked on at a time.
    func tokens(inputs: Int) -> Int {
        let bytes = Self.tableBytes(inputs: inputs, kernels: kernels, precision: precision)
        return max(1, min(tokenSlots, Self.tableBudget / bytes))
    }

    /// Bytes of one token's tables for a layer.
    private static func tableBytes(inputs: Int, kernels: Kernels, precision: InputPrecision) -> Int {
        switch precision {
        case .bits8: kernels.pointee.lut_bytes_int8(inputs)
        case .bits16: kernels.pointee.lut_bytes_int16(inputs)
        }
    }

    func slot(linear: Int, token: Int) -> Int { linear * tokenSlots + token }

    func scale(slot: Int) -> Float { results.pointer[slot].scale }

    func sums(member: Int) -> UnsafeMutablePointer<Int32> {
        partSums.pointer + member * tokenSlots * Self.partRows
    }

    /// q = round((x ⊙ g) / s)
    func quantize(_ x: UnsafePointer<Float>, _ g: UnsafePointer<Float>, inputs: Int, slot: Int) {
        results.pointer[slot] =
            switch precision {
            case .bits8: kernels.pointee.quantize_int8(x, g, inputs, int8(slot), inputStride)
            case .bits16: kernels.pointee.quantize_int16(x, g, inputs, int16(slot), inputStride)
            }
    }

    func buildTables(quads: Range<Int>, slot: Int) {
        let target = tables.pointer + slot * tableStride
        switch precision {
        case .bits8: kernels.pointee.build_luts_int8(int8(slot), quads.lowerBound, quads.upperBound, target)
        case .bits16: kernels.pointee.build_luts_int16(int16(slot), quads.lowerBound, quads.upperBound, target)
        }
    }

    /// q Sᵀ for some tiles of S and the tokens whose slots begin at `slot`: [tokens, stride].
    func product(
        _ signs: PackedSigns, tiles: Range<Int>, slot: Int, tokens: Int, into sums: UnsafeMutablePointer<Int32>,
        stride: Int
    ) {
        let product =
            precision == .bits8 ? kernels.pointee.sign_product_int8 : kernels.pointee.sign_product_int16
        product(
            signs.matrix, tiles.lowerBound, tiles.upperBound, tables.pointer + slot * tableStride, tableStride,
            results.pointer + slot, tokens, sums, stride)
    }

    private func int16(_ slot: Int) -> UnsafeMutablePointer<Int16> { quantized.pointer + slot * inputStride }

    private func int8(_ slot: Int) -> UnsafeMutablePointer<Int8> {
        UnsafeMutableRawPointer(quantized.pointer + slot * inputStride).assumingMemoryBound(to: Int8.self)
    }
}
