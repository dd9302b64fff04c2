/// A token that is found in the text before the model sees it: special tokens, and words added after training.
struct AddedToken: Sendable, Hashable {
    let id: Int
    let content: String
    /// Found only where no word character touches it.
    var isSingleWord = false
    /// Takes the white space before it along.
    var stripsLeft = false
    /// Takes the white space after it along.
    var stripsRight = false
    /// Looked for in the normalized text, not in the text as given.
    var isNormalized = false
    /// Left out of decoded text on request.
    var isSpecial = true
}
