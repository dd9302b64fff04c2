import ModelDescription

/// Where the tokens of a pass stand, and what each of them sees.
struct TokenPlaces: Sendable {
    /// Rows of the rotary table; nil where positions are learned.
    let rotary: RotaryTable.Rows?
    /// Learned positions [length, C] or [batch, length, C], to be added to the embedding; nil where they are rotary.
    let embedding: Tensor?
    let mask: AttentionMask
    /// Of the layers with a sliding window.
    let windowMask: AttentionMask
}
