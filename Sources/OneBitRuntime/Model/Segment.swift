/// Rows of a forward pass that belong to one sequence: consecutive tokens of it.
struct Segment {
    let cache: KeyValueCache
    /// Rows of the pass.
    let rows: Range<Int>
    /// Position of the first of them in the sequence.
    let position: Int
    /// Tokens of the sequence once all that was given to it at the same time is read, in this pass or the next ones.
    let sequenceLength: Int
}
