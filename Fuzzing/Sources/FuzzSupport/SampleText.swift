/// A text with something of what tokenizers treat specially: white space of all kinds, digits, contractions, byte
/// fallback, marks that compose, characters of one to four bytes, and special tokens.
public let sampleText =
    "Hello,  world! it's 2024,\tI'LL we\u{17F}\r\n\n <s>a</s> \u{2581}\u{2581}x nai\u{308}ve \u{1100}\u{1161} "
    + "\u{D55C}\u{AD6D} \u{1F600}\u{1F3FD} \u{0}<0x41>\u{3000}\u{FFFD} e\u{316}\u{301}"
