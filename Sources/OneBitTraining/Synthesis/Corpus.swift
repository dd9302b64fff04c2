import Foundation
import ModelFiles
import Tokenization

/// One line of a corpus file: `{"text": …, "tokens": […]}`. Either may be missing; tokens count where both are there.
struct CorpusLine: Codable {
    var text: String?
    var tokens: [Int]?
}

/// A corpus as one stream of tokens.
public enum Corpus {
    /// Reads `corpus.jsonl` (or any file of `{"text": …}` lines) and joins the samples to one stream, each behind a BOS
    /// where the tokenizer has one. A sample that ends with BOS, as some models mark the end, is not given a second.
    ///
    /// - Throws: ``TrainingError/malformedCorpus(file:line:reason:)``.
    public static func tokens(of file: URL, tokenizer: any Tokenizer) throws -> [Int32] {
        let data = try Data(contentsOf: file, options: .mappedIfSafe)
        let decoder = JSONDecoder()
        var stream: [Int32] = []
        for (index, line) in data.split(separator: UInt8(ascii: "\n")).enumerated() {
            let parsed: CorpusLine
            do {
                parsed = try decoder.decode(CorpusLine.self, from: line)
            } catch {
                throw TrainingError.malformedCorpus(
                    file: file, line: index + 1, reason: "not a JSON object with text or tokens")
            }
            guard var ids = parsed.tokens ?? parsed.text.map({ tokenizer.encode($0, addSpecialTokens: false) }) else {
                throw TrainingError.malformedCorpus(file: file, line: index + 1, reason: "neither text nor tokens")
            }
            if let begin = tokenizer.beginOfSequence {
                if ids.first == begin { ids.removeFirst() }
                if stream.last != Int32(begin) { stream.append(Int32(begin)) }
            }
            for id in ids {
                guard (0..<tokenizer.vocabularySize).contains(id) else {
                    throw TrainingError.malformedCorpus(
                        file: file, line: index + 1,
                        reason: "token \(id) is outside the vocabulary of \(tokenizer.vocabularySize)")
                }
                stream.append(Int32(id))
            }
        }
        return stream
    }
}
