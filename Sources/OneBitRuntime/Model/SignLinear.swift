import CSignKernels
import ModelDescription

/// A linear layer at one bit per weight (paper §3.1, eq. 3):
///
///     Y = ((X ⊙ g) Sᵀ) ⊙ h        S ∈ {±1}, g per input, h per output
///     Z = (Y − mean Y) / √(var Y + ε)      where the model was trained with it
///     Z + b                                where the family has biases
///
/// X ⊙ g is quantised per token to integers q ≈ (X ⊙ g) / s, so that q Sᵀ is exact and Y = q Sᵀ · s ⊙ h.
struct SignLinear: Sendable {
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

    /// - Throws: ``RuntimeError/layerTooWide(directory:tensor:inputs:maximum:)``, and `CheckpointError` when a scale
    ///   is NaN or infinite.
    init(_ linear: LinearDescription, signs: PackedSigns, of checkpoint: Checkpoint, layerNormEpsilon: Float?) throws {
        guard linear.inputs <= Int(SIGN_KERNELS_MAXIMUM_COLUMNS) else {
            throw RuntimeError.layerTooWide(
                directory: checkpoint.directory.path,
                tensor: linear.weightName,
                inputs: linear.inputs,
                maximum: Int(SIGN_KERNELS_MAXIMUM_COLUMNS)
            )
        }
        self.signs = signs
        inputScale = try FloatVector(linear.inputScaleName, of: checkpoint)
        outputScale = try FloatVector(linear.outputScaleName, of: checkpoint)
        self.layerNormEpsilon = layerNormEpsilon
        bias = try linear.bias.map { try FloatVector($0.name, of: checkpoint) }
    }
}
