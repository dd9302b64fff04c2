import ModelDescription
import SignDecomposition

/// Which input scales of a block can go into what is before them, so that a layer is signs and a scale per row:
///
///     q, k, v    S (g ⊙ n ⊙ x̂)            g into the norm's weights n, where the three share it
///     gate, up   likewise
///     o          S (g ⊙ Σ a v)             g into v's h and bias, where the query heads of a group share it
///     down       S (g ⊙ silu(u) ⊙ w)       g into up's h and bias, always
///
/// Exact but for the rounding of the products.
struct InputScaleFolding: Hashable {
    /// Of q, k and v.
    let readers: Bool
    let output: Bool
    /// Of gate and up.
    let expanders: Bool

    /// - Precondition: the norms are before the sublayers, and the MLP is gated.
    init(_ layer: Int, of student: Checkpoint) throws {
        let configuration = student.configuration
        let block = configuration.block(layer)
        guard let gate = block.gate, configuration.structure.normPlacement == .beforeSublayers else {
            preconditionFailure("a block that no folding is known for")
        }
        func scale(_ linear: LinearDescription) throws -> [Float] { try student.floats(of: linear.inputScaleName) }
        let query = try scale(block.query)
        readers = try query == scale(block.key) && query == scale(block.value)
        expanders = try scale(gate) == scale(block.up)
        let groups = HeadGroups(configuration)
        let g = try scale(block.output)
        output = g == groups.repeated(groups.first(of: g))
    }

    /// Whether no layer keeps its input scale.
    var isComplete: Bool { readers && output && expanders }
}

/// A block of a student whose input scales are folded.
struct FoldedBlock {
    private(set) var attentionNorm: [Float]
    private(set) var mlpNorm: [Float]
    private(set) var query: OneBitLayer
    private(set) var key: OneBitLayer
    private(set) var value: OneBitLayer
    private(set) var output: OneBitLayer
    private(set) var gate: OneBitLayer
    private(set) var up: OneBitLayer
    private(set) var down: OneBitLayer

    init(_ block: BlockDescription, by folding: InputScaleFolding, of student: Checkpoint) throws {
        guard let gateDescription = block.gate else { preconditionFailure("a block that no folding is known for") }
        attentionNorm = try student.floats(of: block.attentionNorm.weight.name)
        mlpNorm = try student.floats(of: block.mlpNorm.weight.name)
        query = try OneBitLayer(block.query, of: student)
        key = try OneBitLayer(block.key, of: student)
        value = try OneBitLayer(block.value, of: student)
        output = try OneBitLayer(block.output, of: student)
        gate = try OneBitLayer(gateDescription, of: student)
        up = try OneBitLayer(block.up, of: student)
        down = try OneBitLayer(block.down, of: student)
        if folding.readers {
            attentionNorm = product(attentionNorm, query.inputScale)
            (query.inputScale, key.inputScale, value.inputScale) = (nil, nil, nil)
        }
        if folding.expanders {
            mlpNorm = product(mlpNorm, gate.inputScale)
            (gate.inputScale, up.inputScale) = (nil, nil)
        }
        if folding.output, let g = output.inputScale {
            value.scaleOutputs(by: HeadGroups(student.configuration).first(of: g))
            output.inputScale = nil
        }
        if let g = down.inputScale {
            up.scaleOutputs(by: g)
            down.inputScale = nil
        }
    }
}

extension OneBitLayer {
    fileprivate mutating func scaleOutputs(by g: [Float]) {
        outputScale = product(outputScale, g)
        bias = bias.map { product($0, g) }
    }
}

private func product(_ x: [Float], _ y: [Float]?) -> [Float] { y.map { zip(x, $0).map { $0 * $1 } } ?? x }
