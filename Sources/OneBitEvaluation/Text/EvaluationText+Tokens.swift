import LanguageModel
import Tokenization

/// Where the tokens of an evaluation get a beginning-of-sequence token.
public enum BeginOfSequencePlacement: String, Sendable, CaseIterable {
    /// One in front; the texts are joined, by an empty line as GPTQ does unless told otherwise.
    case front
    /// One before each text, nothing between them: the stream that models of short documents are trained on.
    case each
    /// One in front of the joined texts, and one in place of every window's first token, as llama.cpp does.
    case window
    /// None; the texts are joined.
    case none
}

extension EvaluationText {
    /// What stands between texts that are evaluated as one: an empty line, as GPTQ joins WikiText-2's.
    public static let emptyLine = "\n\n"

    /// The texts as one sequence of tokens.
    ///
    /// - Parameters:
    ///   - tokenizer: the model's.
    ///   - beginOfSequence: the token that opens a sequence; nil puts none, whatever `placement` says.
    ///   - placement: where that token goes.
    ///   - separator: what stands between joined texts.
    /// - Throws: what `Tokenizer.encode` throws.
    public func joined(
        tokenizer: any Tokenizer, beginOfSequence: Int?, placement: BeginOfSequencePlacement,
        separator: String = emptyLine
    ) throws -> TokenizedText {
        guard let beginOfSequence, placement != .none else {
            let tokens = try tokenizer.encode(texts.joined(separator: separator), addSpecialTokens: false)
            return TokenizedText(name: name, sequences: [tokens])
        }
        if placement == .each, texts.count > 1 {
            let tokens = try texts.flatMap { try [beginOfSequence] + tokenizer.encode($0, addSpecialTokens: false) }
            return TokenizedText(name: name, sequences: [tokens])
        }
        let text = texts.joined(separator: separator)
        return TokenizedText(
            name: name,
            sequences: [try [beginOfSequence] + tokenizer.encode(text, addSpecialTokens: false)],
            windowBegin: placement == .window ? beginOfSequence : nil,
            extent: TextExtent(of: [text]))
    }

    /// Each text as a sequence of its own, behind the token that its first is predicted from: beginning-of-sequence, or
    /// end-of-sequence where there is no such token, as lm-evaluation-harness chooses.
    ///
    /// - Throws: ``EvaluationTextError/noTokenToStartFrom``
    public func separate(tokenizer: any Tokenizer) throws -> TokenizedText {
        guard let prefix = tokenizer.beginOfSequence ?? tokenizer.endOfSequence else {
            throw EvaluationTextError.noTokenToStartFrom
        }
        return TokenizedText(
            name: name,
            sequences: try texts.map { try [prefix] + tokenizer.encode($0, addSpecialTokens: false) },
            extent: TextExtent(of: texts))
    }

    /// Segments of texts drawn at random, one behind the other: GPTQ's and OneBit's sample of C4. A text is drawn until
    /// one has more tokens than a segment, its own beginning-of-sequence token among them, then the segment's place in it.
    /// Draws as Python's `random` does behind `random.seed(seed)`, so that the same file gives the segments of published
    /// figures, for which it is 256 segments, seed 0.
    ///
    /// - Throws: ``EvaluationTextError/noTextLongEnough(text:segment:)``
    public func drawn(
        segments: Int, length: Int, seed: UInt64, tokenizer: any Tokenizer, beginOfSequence: Int?,
        placement: BeginOfSequencePlacement
    ) throws -> TokenizedText {
        let begin = placement == .none ? [] : beginOfSequence.map { [$0] } ?? []
        var random = PythonRandom(seed: seed)
        var tooShort: Set<Int> = []
        var tokens: [Int] = []
        for _ in 0..<segments {
            while true {
                guard tooShort.count < texts.count else {
                    throw EvaluationTextError.noTextLongEnough(text: name, segment: length)
                }
                let index = random.integer(below: texts.count)
                guard !tooShort.contains(index) else { continue }
                let text = try begin + tokenizer.encode(texts[index], addSpecialTokens: false)
                if text.count > length {
                    let first = random.integer(below: text.count - length)
                    tokens += text[first..<first + length]
                    break
                }
                tooShort.insert(index)
            }
        }
        return TokenizedText(
            name: name, sequences: [tokens], windowBegin: placement == .window ? beginOfSequence : nil)
    }
}
