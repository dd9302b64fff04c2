import CSignKernels

/// To how many bits a sign layer's input is quantised, per token. Sums over it are exact either way.
public enum InputPrecision: Int, Sendable, CaseIterable {
    /// Fewer look-ups than 16: prompts are read about 1.5 times as fast, and generation where memory is not the limit.
    case bits8 = 8
    /// Nothing lost against 16-bit float activations.
    case bits16 = 16

    public static let `default` = InputPrecision.bits8
}

/// What the layers of a model compute with.
struct Execution: Sendable {
    let instructionSet: InstructionSet
    let team: Team
    let inputPrecision: InputPrecision

    var kernels: Kernels { instructionSet.kernels }
}
