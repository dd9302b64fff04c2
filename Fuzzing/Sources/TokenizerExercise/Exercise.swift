import FuzzSupport
import Tokenization

/// Encodes and decodes with a tokenizer that loaded, and stops the run where it breaks its promises.
public func exercise(_ tokenizer: BytePairTokenizer, text: String) {
    encodeAndDecode(text, with: tokenizer)
    // The tokens themselves make the text that reaches most merges.
    let ids = [-1, tokenizer.vocabularySize, .max, .min] + Array(0..<min(tokenizer.vocabularySize, 300))
    decode(ids, with: tokenizer)
    encodeAndDecode(ids.compactMap(tokenizer.token).joined(), with: tokenizer)
    for id in [tokenizer.beginOfSequence, tokenizer.endOfSequence].compactMap({ $0 }) {
        require(tokenizer.token(of: id) != nil, "no token has the id that opens or closes a sequence")
    }
}

private func encodeAndDecode(_ text: String, with tokenizer: BytePairTokenizer) {
    // A file may ask for an expression that is stopped on a text, which is an error that says so.
    guard let ids = try? tokenizer.encode(text, addSpecialTokens: true) else { return }
    for id in Set(ids) { require(tokenizer.token(of: id) != nil, "encoded to an id that no token has: \(id)") }
    decode(ids, with: tokenizer)
}

private func decode(_ ids: [Int], with tokenizer: BytePairTokenizer) {
    for skipsSpecialTokens in [false, true] {
        let text = tokenizer.decode(ids, skipSpecialTokens: skipsSpecialTokens)
        var stream = StreamingDecoder(tokenizer: tokenizer, skipSpecialTokens: skipsSpecialTokens)
        var streamed = ""
        for id in ids { streamed += stream.append(id) }
        streamed += stream.finish()
        require(streamed.utf8.elementsEqual(text.utf8), "streamed text is not decoded text")
    }
}
