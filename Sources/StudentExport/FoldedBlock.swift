import ModelDescription
import SignDecomposition

/// Which input scales of a block can go into what is before them, so that a layer is signs and a scale per row:
///
///     q, k, v    S (g ⊙ (n ⊙ x̂ + b))      g into the weights n and b of the norm before them, where the three share it
///     gate, up   likewise
///     o          S (g ⊙ Σ a v)             g into v's h and bias, where the query heads of a group share it
///     down       S (g ⊙ silu(u) ⊙ w)       g into up's h and bias, always; gelu in place of silu in some families
///
/// Exact but for the rounding of the products. Norms on what the sublayers give are behind the layers, and norms of queries
/// and keys behind q and k: they do not matter. Where there is no norm before a sublayer (OLMo 2) its layers read the residual
/// stream itself, and their g has no place to go.
struct InputScaleFolding: Hashable {
    /// Whether a norm is between the residual stream and the layers that read it.
    let hasNormBefore: Bool
    /// Of q, k and v.
    let readers: Bool
    let output: Bool
    /// Of gate and up.
    let expanders: Bool

    /// - Precondition: the MLP is gated.
    init(_ layer: Int, of student: Checkpoint) throws {
        let configuration = student.configuration
        let block = configuration.block(layer)
        guard let gate = block.gate else { preconditionFailure("a block that no folding is known for") }
        hasNormBefore = [.beforeSublayers, .aroundSublayers].contains(configuration.structure.normPlacement)
        func scale(_ linear: LinearDescription) throws -> [Float] { try student.floats(of: linear.inputScaleName) }
        let query = try scale(block.query)
        readers = try hasNormBefore && query == scale(block.key) && query == scale(block.value)
        expanders = try hasNormBefore && scale(gate) == scale(block.up)
        let groups = HeadGroups(configuration)
        let g = try scale(block.output)
        output = g == groups.repeated(groups.first(of: g))
    }

    /// Whether no layer keeps its input scale.
    var isComplete: Bool { readers && output && expanders }
}

/// The weights of a norm as other engines have them, which count from 0.
struct NormWeights {
    private(set) var weight: [Float]
    private(set) var bias: [Float]?

    init(_ norm: NormDescription, of student: Checkpoint) throws {
        let stored = try student.floats(of: norm.weight.name)
        weight = norm.countsFromOne ? stored.map { 1 + $0 } : stored
        bias = try norm.bias.map { try student.floats(of: $0.name) }
    }

    mutating func scaleOutputs(by g: [Float]?) {
        weight = product(weight, g)
        bias = bias.map { product($0, g) }
    }
}

/// A block of a student whose input scales are folded.
struct FoldedBlock {
    private(set) var attentionNorm: NormWeights
    private(set) var mlpNorm: NormWeights
    private(set) var query: OneBitLayer
    private(set) var key: OneBitLayer
    private(set) var value: OneBitLayer
    private(set) var output: OneBitLayer
    private(set) var gate: OneBitLayer
    private(set) var up: OneBitLayer
    private(set) var down: OneBitLayer

    init(_ block: BlockDescription, by folding: InputScaleFolding, of student: Checkpoint) throws {
        guard let gateDescription = block.gate else { preconditionFailure("a block that no folding is known for") }
        attentionNorm = try NormWeights(block.attentionNorm, of: student)
        mlpNorm = try NormWeights(block.mlpNorm, of: student)
        query = try OneBitLayer(block.query, of: student)
        key = try OneBitLayer(block.key, of: student)
        value = try OneBitLayer(block.value, of: student)
        output = try OneBitLayer(block.output, of: student)
        gate = try OneBitLayer(gateDescription, of: student)
        up = try OneBitLayer(block.up, of: student)
        down = try OneBitLayer(block.down, of: student)
        if folding.readers {
            attentionNorm.scaleOutputs(by: query.inputScale)
            (query.inputScale, key.inputScale, value.inputScale) = (nil, nil, nil)
        }
        if folding.expanders {
            mlpNorm.scaleOutputs(by: gate.inputScale)
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
