/// The special tokens that stand around an encoded text.
struct PostProcessor: Sendable, Hashable {
    var prefix: [Int] = []
    var suffix: [Int] = []
}
