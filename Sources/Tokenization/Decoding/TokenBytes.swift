/// What a token adds to a text, in bytes: a token may hold part of a character.
extension Tokenizer {
    /// The bytes that a token stands for inside a text: the space before a word included, a special token as it is spelled. Empty for an
    /// id that no token has.
    package func bytes(of id: Int) -> [UInt8] {
        guard let spelling = token(of: id) else { return [] }
        guard let tokenizer = self as? BytePairTokenizer, tokenizer.addedTokens[id] == nil else {
            return Array(spelling.utf8)
        }
        var bytes: [UInt8] = []
        if tokenizer.model.unit == .bytes {
            ByteAlphabet.appendBytes(of: Array(spelling.utf8)[...], to: &bytes)
        } else if tokenizer.model.fallbackIDs.contains(id),
            let byte = ByteFallbackStage.byte(of: Array(spelling.utf8)[...])
        {
            bytes = [byte]
        } else {
            // U+2581, SentencePiece's mark of a space.
            bytes = Array(spelling.replacing("\u{2581}", with: " ").utf8)
        }
        return bytes
    }
}
