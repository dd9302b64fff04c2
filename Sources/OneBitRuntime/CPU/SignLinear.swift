import CSignKernels
import ModelDescription

/// A linear layer at one bit per weight (paper §3.1, eq. 3):
///
///     Y = ((X ⊙ g) Sᵀ) ⊙ h        S ∈ {±1}, g per input, h per output
///     Z = (Y − mean Y) / √(var Y + ε)      where the model was trained with it
///     Z + b                                where the family has biases
///
/// X ⊙ g is quantized per token to integers q ≈ (X ⊙ g) / s, so that q Sᵀ is exact and Y = q Sᵀ · s ⊙ h.
final class SignLinear: Sendable {
    /// S, `X.weight`
    let signs: PackedSigns
    /// g, `X.input_factor`
    let inputScale: FloatVector
    /// h, `X.weight_scale`
    let outputScale: FloatVector
    /// ε of the LayerNorm, nil without one.
    let layerNormEpsilon: Float?
    /// b, `X.bias`
    let bias: FloatVector?

    var inputs: Int { signs.columns }
    var outputs: Int { signs.rows }

    /// - Throws: ``RuntimeError/layerTooWide(directory:tensor:inputs:maximum:)``, and `TensorFileError` when a scale is NaN
    ///   or infinite.
    init(_ linear: LinearDescription, signs: PackedSigns, of checkpoint: Checkpoint) throws {
        guard linear.inputs <= Int(SIGN_KERNELS_MAXIMUM_COLUMNS) else {
            throw RuntimeError.layerTooWide(
                directory: checkpoint.directory.path, tensor: linear.weightName, inputs: linear.inputs,
                maximum: Int(SIGN_KERNELS_MAXIMUM_COLUMNS))
        }
        let quantization = checkpoint.configuration.quantization
        self.signs = signs
        inputScale = try FloatVector(linear.inputScaleName, of: checkpoint)
        outputScale = try FloatVector(linear.outputScaleName, of: checkpoint)
        layerNormEpsilon = quantization?.postLayerNorm == true ? quantization?.layerNormEpsilon : nil
        bias = try linear.bias.map { try FloatVector($0.name, of: checkpoint) }
    }
}

/// Sign layers that read the same input: q, k and v; gate and up; o or down alone. Their products are one loop.
struct SignLinearGroup: Sendable {
    private let linears: [SignLinear]
    /// Tiles that are one part of a loop: some hundred rows, whatever the tile.
    private let partTiles: Int
    private let partCounts: [Int]
    private let inputs: Int
    /// Different input scales among the layers': one where they share theirs, and then what is made of an input serves all.
    private let scaleCount: Int

    init(_ linears: [SignLinear], layout: SignLayout) {
        self.linears = linears
        inputs = linears[0].inputs
        let isShared = linears.allSatisfy { $0.inputScale.isEqual(to: linears[0].inputScale) }
        scaleCount = isShared ? 1 : linears.count
        let partTiles = max(1, SignProductScratch.partRows / layout.tileRows)
        self.partTiles = partTiles
        partCounts = linears.map { (layout.tileCount(rows: $0.outputs) + partTiles - 1) / partTiles }
    }

    /// x: [rows, inputs]; output(i): where layer i writes [rows, its outputs].
    ///
    /// - Parameter output: called by every worker; must give all of them the same.
    func callAsFunction(
        _ x: UnsafePointer<Float>, _ pass: ForwardPass, output: (Int) -> UnsafeMutablePointer<Float>
    ) {
        let block = pass.activations.signProduct.tokens(inputs: inputs)
        for first in stride(from: 0, to: pass.rows, by: block) {
            let tokens = min(block, pass.rows - first)
            quantize(x + first * inputs, tokens: tokens, pass)
            multiply(tokens: tokens, pass) { output($0) + first * linears[$0].outputs }
        }
        for (index, linear) in linears.enumerated() {
            // Z = LayerNorm(Y) + b
            guard linear.layerNormEpsilon != nil || linear.bias != nil else { continue }
            let y = output(index)
            let width = linear.outputs
            pass.parallelFor(pass.rows) { range in
                for row in range {
                    let y = y + row * width
                    if let epsilon = linear.layerNormEpsilon {
                        _ = pass.kernels.pointee.layer_norm(y, width, epsilon, y)
                    }
                    if let bias = linear.bias { pass.kernels.pointee.add(bias.pointer, width, y) }
                }
            }
        }
    }

    /// q, s and the look-up tables of every input scale and token.
    private func quantize(_ x: UnsafePointer<Float>, tokens: Int, _ pass: ForwardPass) {
        let scratch = pass.activations.signProduct
        let count = scaleCount * tokens
        let quads = scratch.layout.quadCount(columns: inputs)
        func slot(_ index: Int) -> Int {
            let (linear, token) = index.quotientAndRemainder(dividingBy: tokens)
            return scratch.slot(linear: linear, token: token)
        }
        // A short row is done sooner than threads meet again; many rows are shared out as they are.
        let isWhole = inputs <= SignProductScratch.shortRow || count >= 2 * pass.worker.threadCount
        pass.parallelFor(count) { range in
            for index in range {
                let (linear, token) = index.quotientAndRemainder(dividingBy: tokens)
                scratch.quantize(
                    x + token * inputs, linears[linear].inputScale.pointer, inputs: inputs, slot: slot(index))
                if isWhole { scratch.buildLookUpTables(quads: 0..<quads, slot: slot(index)) }
            }
        }
        if isWhole { return }
        let pieces = (quads + SignProductScratch.quadsPerPiece - 1) / SignProductScratch.quadsPerPiece
        pass.parallelFor(count * pieces) { range in
            for index in range {
                let (row, piece) = index.quotientAndRemainder(dividingBy: pieces)
                let first = piece * SignProductScratch.quadsPerPiece
                scratch.buildLookUpTables(
                    quads: first..<min(first + SignProductScratch.quadsPerPiece, quads), slot: slot(row))
            }
        }
    }

    /// Y = q Sᵀ · s ⊙ h
    private func multiply(tokens: Int, _ pass: ForwardPass, output: (Int) -> UnsafeMutablePointer<Float>) {
        let scratch = pass.activations.signProduct
        let sums = scratch.sums(worker: pass.worker.index)
        pass.parallelFor(partCounts.reduce(0, +)) { range in
            for index in range {
                var (linear, part) = (0, index)
                while part >= partCounts[linear] {
                    part -= partCounts[linear]
                    linear += 1
                }
                let layer = linears[linear]
                let tileCount = scratch.layout.tileCount(rows: layer.outputs)
                let tiles = part * partTiles..<min((part + 1) * partTiles, tileCount)
                let first = tiles.lowerBound * scratch.layout.tileRows
                let count = min(tiles.upperBound * scratch.layout.tileRows, layer.outputs) - first
                let slot = scratch.slot(linear: min(linear, scaleCount - 1), token: 0)
                scratch.product(layer.signs, tiles: tiles, slot: slot, tokens: tokens, into: sums, stride: count)
                for token in 0..<tokens {
                    pass.kernels.pointee.dequantize(
                        sums + token * count, scratch.scale(slot: slot + token), layer.outputScale.pointer + first,
                        count, output(linear) + token * layer.outputs + first)
                }
            }
        }
    }
}

/// Integers and look-up tables of the sign products of one forward pass.
///
/// A slot is what one token gives one layer. Only so many tokens have slots at a time that their look-up tables stay in
/// the second-level cache, where every tile of a matrix reads them.
final class SignProductScratch {
    /// Rows of a matrix that one part of a loop takes.
    static let partRows = 256
    /// Quadruples of groups that one part of building look-up tables takes.
    static let quadsPerPiece = 32
    /// Inputs up to which one thread makes the integers and tables of a row: a microsecond, about what it takes several
    /// threads to meet.
    static let shortRow = 2048
    /// Layers that share an input at most: q, k, v.
    private static let linearsPerGroup = 3
    private static let tokensAtMost = 16
    private static let lookUpTableBudget = 1 << 20

    let layout: SignLayout
    private let kernels: Kernels
    private let precision: InputPrecision
    /// Tokens that have slots.
    private let tokenSlots: Int
    private let inputStride: Int
    private let lookUpTableStride: Int
    /// q: [slot, inputStride]
    private let quantized: Buffer<Int16>
    /// s and Σ|q|: [slot]
    private let results: Buffer<sign_kernels_quantized>
    /// [slot, lookUpTableStride]
    private let lookUpTables: Buffer<UInt8>
    /// q Sᵀ of a part: [worker, token, partRows]
    private let partSums: Buffer<Int32>

    /// - Parameters:
    ///   - tokens: most tokens of a forward pass.
    ///   - widest: inputs of the widest layer.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(tokens: Int, widest: Int, threads: Int, instructionSet: InstructionSet, precision: InputPrecision) throws {
        layout = instructionSet.layout
        kernels = instructionSet.kernels
        self.precision = precision
        tokenSlots = min(tokens, Self.tokensAtMost)
        let padding = Int(SIGN_KERNELS_INPUT_PADDING)
        inputStride = (widest + padding - 1) / padding * padding
        let bytes = Self.lookUpTableBytes(inputs: widest, kernels: kernels, precision: precision)
        // An odd multiple of half a page: the pieces of tables that tokens use at the same time then lie in different sets
        // of the first-level cache, whose ways are a page each.
        lookUpTableStride = (bytes + 4095) / 4096 * 4096 + 2048
        let slots = Self.linearsPerGroup * tokenSlots
        quantized = try Buffer(count: slots * inputStride)
        results = try Buffer(count: slots)
        lookUpTables = try Buffer(count: slots * lookUpTableStride, alignment: Int(SIGN_KERNELS_ALIGNMENT))
        partSums = try Buffer(count: threads * tokenSlots * Self.partRows)
    }

    /// Tokens of layers with that many inputs that should be worked on at a time.
    func tokens(inputs: Int) -> Int {
        let bytes = Self.lookUpTableBytes(inputs: inputs, kernels: kernels, precision: precision)
        return max(1, min(tokenSlots, Self.lookUpTableBudget / bytes))
    }

    /// Bytes of one token's look-up tables for a layer.
    private static func lookUpTableBytes(inputs: Int, kernels: Kernels, precision: InputPrecision) -> Int {
        switch precision {
        case .bits10: kernels.pointee.lut_bytes_10bit(inputs)
        case .bits16: kernels.pointee.lut_bytes_16bit(inputs)
        }
    }

    func slot(linear: Int, token: Int) -> Int { linear * tokenSlots + token }

    func scale(slot: Int) -> Float { results.pointer[slot].scale }

    func sums(worker: Int) -> UnsafeMutablePointer<Int32> {
        partSums.pointer + worker * tokenSlots * Self.partRows
    }

    /// q = round((x ⊙ g) / s), zero-filled up to the padding that look-up tables are built from.
    func quantize(_ x: UnsafePointer<Float>, _ g: UnsafePointer<Float>, inputs: Int, slot: Int) {
        results.pointer[slot] =
            switch precision {
            case .bits10: kernels.pointee.quantize_10bit(x, g, inputs, integers(slot), inputStride)
            case .bits16: kernels.pointee.quantize_16bit(x, g, inputs, integers(slot), inputStride)
            }
    }

    func buildLookUpTables(quads: Range<Int>, slot: Int) {
        let build = precision == .bits10 ? kernels.pointee.build_luts_10bit : kernels.pointee.build_luts_16bit
        build(
            integers(slot), results.pointer + slot, quads.lowerBound, quads.upperBound,
            lookUpTables.pointer + slot * lookUpTableStride)
    }

    /// q Sᵀ for some tiles of S and the tokens whose slots begin at `slot`: [tokens, stride].
    func product(
        _ signs: PackedSigns, tiles: Range<Int>, slot: Int, tokens: Int, into sums: UnsafeMutablePointer<Int32>,
        stride: Int
    ) {
        let product =
            precision == .bits10 ? kernels.pointee.sign_product_10bit : kernels.pointee.sign_product_16bit
        product(
            signs.matrix, tiles.lowerBound, tiles.upperBound, lookUpTables.pointer + slot * lookUpTableStride,
            lookUpTableStride, results.pointer + slot, tokens, sums, stride)
    }

    private func integers(_ slot: Int) -> UnsafeMutablePointer<Int16> { quantized.pointer + slot * inputStride }
}
