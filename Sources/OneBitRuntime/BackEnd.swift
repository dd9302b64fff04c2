import LanguageModel

/// Computes packed models on one kind of device: has the weights in the form that the device wants, and makes the contexts
/// that decode with them.
///
/// The CPU is the only one so far. Another one is a second type of this protocol, and a choice between the two in
/// ``PackedModel/init(checkpoint:options:)``; nothing above it changes.
protocol BackEnd: Sendable {
    /// Bytes of weights that generating one token reads.
    var bytesPerToken: Int { get }

    /// Bytes that the keys and values of so many positions of one sequence take.
    func cacheByteCount(positions: Int) -> Int

    /// Makes memory for sequences and forward passes; contexts share the weights.
    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext

    /// What passes through the model as it reads a sequence.
    func states(of tokens: [Int]) throws -> ModelStates

    /// Bytes per second that the device reads from its memory without doing anything with them: what generation is
    /// compared with. The median of some repetitions.
    func measureReadBandwidth(repetitions: Int) throws -> Double
}
