/// Rows of a forward pass that belong to one sequence: consecutive tokens of it.
struct Segment {
    let cache: KeyValueCache
    /// Rows of the pass.
    let rows: Range<Int>
    /// Position of the first of them in the sequence.
    let position: Int
}
