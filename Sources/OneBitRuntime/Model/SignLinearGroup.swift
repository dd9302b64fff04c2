import CSignKernels

/// Sign layers that read the same input: q, k and v; gate and up; o or down alone. Their products are one loop.
struct SignLinearGroup: Sendable {
    private let linears: [SignLinear]
    /// Tiles that are one part of a loop: some hundred rows, whatever the tile.
    private let partTiles: Int
    private let partCounts: [Int]
    private let inputs: Int

    init(_ linears: [SignLinear], layout: SignLayout) {
        self.linears = linears
        inputs = linears[0].inputs
        let partTiles = max(1, SignProductScratch.partRows / layout.tileRows)
        self.partTiles = partTiles
        partCounts = linears.map { (layout.tileCount(rows: $0.outputs) + partTiles - 1) / partTiles }
    }

    /// x: [rows, inputs]; output(i): where layer i writes [rows, its outputs].
    ///
    /// - Parameter output: called from every member; must give all of them the same.
    func callAsFunction(
        _ x: UnsafePointer<Float>,
        rows: Int,
        scratch: SignProductScratch,
        execution: Execution,
        member: inout Team.Member,
        output: (Int) -> UnsafeMutablePointer<Float>
    ) {
        let block = scratch.tokens(inputs: inputs)
        for first in stride(from: 0, to: rows, by: block) {
            let tokens = min(block, rows - first)
            quantize(x + first * inputs, tokens: tokens, scratch, execution, &member)
            multiply(tokens: tokens, scratch, execution, &member) { output($0) + first * linears[$0].outputs }
        }
        for (index, linear) in linears.enumerated() {
            // Z = LayerNorm(Y) + b
            guard linear.layerNormEpsilon != nil || linear.bias != nil else { continue }
            let y = output(index)
            let width = linear.outputs
            let kernels = execution.kernels
            member.forEach(rows) { range in
                for row in range {
                    let y = y + row * width
                    if let epsilon = linear.layerNormEpsilon { kernels.pointee.layer_norm(y, width, epsilon, y) }
                    if let bias = linear.bias { kernels.pointee.add(bias.pointer, width, y) }
                }
            }
        }
    }

    /// q, s and the look-up tables of every layer and token.
    private func quantize(
        _ x: UnsafePointer<Float>, tokens: Int, _ scratch: SignProductScratch, _ execution: Execution,
        _ member: inout Team.Member
    ) {
        let count = linears.count * tokens
        member.forEach(count) { range in
            for index in range {
                let (linear, token) = index.quotientAndRemainder(dividingBy: tokens)
                scratch.quantize(
                    x + token * inputs, linears[linear].inputScale.pointer, inputs: inputs,
                    slot: scratch.slot(linear: linear, token: token))
            }
        }
        let quads = scratch.layout.quadCount(columns: inputs)
        let pieces = (quads + SignProductScratch.quadsPerPiece - 1) / SignProductScratch.quadsPerPiece
        member.forEach(count * pieces) { range in
            for index in range {
                let (slot, piece) = index.quotientAndRemainder(dividingBy: pieces)
                let (linear, token) = slot.quotientAndRemainder(dividingBy: tokens)
                let first = piece * SignProductScratch.quadsPerPiece
                scratch.buildTables(
                    quads: first..<min(first + SignProductScratch.quadsPerPiece, quads),
                    slot: scratch.slot(linear: linear, token: token))
            }
        }
    }

    /// Y = q Sᵀ · s ⊙ h
    private func multiply(
        tokens: Int, _ scratch: SignProductScratch, _ execution: Execution, _ member: inout Team.Member,
        output: (Int) -> UnsafeMutablePointer<Float>
    ) {
        let sums = scratch.sums(member: member.index)
        member.forEach(partCounts.reduce(0, +)) { range in
            for index in range {
                var (linear, part) = (0, index)
                while part >= partCounts[linear] {
                    part -= partCounts[linear]
                    linear += 1
                }
                let layer = linears[linear]
                let tiles =
                    part
                    * partTiles..<min(
                        (part + 1) * partTiles, scratch.layout.tileCount(rows: layer.outputs))
                let first = tiles.lowerBound * scratch.layout.tileRows
                let count = min(tiles.upperBound * scratch.layout.tileRows, layer.outputs) - first
                let slot = scratch.slot(linear: linear, token: 0)
                scratch.product(layer.signs, tiles: tiles, slot: slot, tokens: tokens, into: sums, stride: count)
                for token in 0..<tokens {
                    execution.kernels.pointee.dequantize(
                        sums + token * count, scratch.scale(slot: slot + token), layer.outputScale.pointer + first,
                        count, output(linear) + token * layer.outputs + first)
                }
            }
        }
    }
}
