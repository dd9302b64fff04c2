import ModelFiles

/// Every token of a tokenizer and how tokens merge, for formats that keep a vocabulary as one table.
package struct TokenTable: Sendable {
    /// SentencePiece's kinds of tokens.
    package enum Kind: Sendable {
        case normal, unknown, control, userDefined, unused, byte
    }

    /// By id, as the vocabulary spells them; of an id that no token has, an unused one.
    package private(set) var spellings: [String] = []
    package private(set) var kinds: [Kind] = []
    /// Two tokens with a space between, those first that merge first.
    package private(set) var merges: [String] = []
    /// By id: minus the place of the first merge that gives the token, so that of two pairs the one that merges first gives the
    /// token of the higher score.
    package private(set) var scores: [Float] = []
    /// Whether words are spelled in bytes, as GPT-2's are, or in characters with "▁" for a space.
    package let isByteLevel: Bool
    /// Whether a text that begins with no space is read as if it did.
    package let addsPrefix: Bool
    package let unknown: Int?
    /// What a text has around it.
    package let addsBeginOfSequence: Bool
    package let addsEndOfSequence: Bool

    /// - Throws: ``TokenizerError``
    package init(_ tokenizer: BytePairTokenizer) throws {
        let model = tokenizer.model
        isByteLevel = model.unit == .bytes
        unknown = if case .id(let id)? = model.unknown { id } else { nil }
        addsBeginOfSequence = !tokenizer.postProcessor.prefix.isEmpty
        addsEndOfSequence = !tokenizer.postProcessor.suffix.isEmpty
        let first = try tokenizer.encode("a", addSpecialTokens: false).first.flatMap(tokenizer.token(of:))
        addsPrefix = !isByteLevel && first?.hasPrefix("\u{2581}") == true
        for id in 0..<tokenizer.vocabularySize {
            let spelling = tokenizer.token(of: id)
            spellings.append(spelling ?? "[unused \(id)]")
            kinds.append(kind(of: id, spelling, tokenizer))
        }
        scores = [Float](repeating: 0, count: spellings.count)
        addMerges(of: model)
    }

    private func kind(of id: Int, _ spelling: String?, _ tokenizer: BytePairTokenizer) -> Kind {
        guard spelling != nil else { return .unused }
        if id == unknown, !isByteLevel { return .unknown }
        if let added = tokenizer.addedTokens[id]?.token { return added.isSpecial ? .control : .userDefined }
        let isByte = tokenizer.model.fallbackIDs.contains(id)
        return isByte ? .byte : .normal
    }

    private mutating func addMerges(of model: BytePairModel) {
        var pairs: [(rank: UInt32, left: Int, right: Int, product: Int)] = []
        model.merges.forEachPair { left, right in
            let merge = model.merges.merge(left: UInt32(left), right: UInt32(right))
            pairs.append((merge.rank, left, right, Int(merge.product)))
        }
        pairs.sort { ($0.rank, $0.left, $0.right) < ($1.rank, $1.left, $1.right) }
        merges = pairs.map { "\(spellings[$0.left]) \(spellings[$0.right])" }
        for pair in pairs.reversed() { scores[pair.product] = -Float(pair.rank) }
    }
}

extension BytePairTokenizer {
    /// How texts are cut before they are merged, in GGUF's terms.
    package var ggufPreTokenizer: GGUFPreTokenizer {
        var result = GGUFPreTokenizer(composes: normalizer?.composes == true, ignoresMerges: model.ignoresMerges)
        preTokenizer?.describe(in: &result)
        return result
    }
}

extension Normalizer {
    fileprivate var composes: Bool {
        switch self {
        case .sequence(let steps): steps.contains(where: \.composes)
        case .canonicalComposition: true
        default: false
        }
    }
}

extension PreTokenizer {
    /// Adds its steps to a description. What GGUF has no word for becomes an expression that no known tokenizer has.
    fileprivate func describe(in result: inout GGUFPreTokenizer) {
        switch self {
        case .sequence(let steps): for step in steps { step.describe(in: &result) }
        case .split(let pattern, .isolated, inverted: false): result.steps.append(.expression(pattern.expression))
        case .byteLevel(_, let splitsWords): result.endsWithGPT2Words = splitsWords
        case .digits(individually: true): result.steps.append(.digits)
        case .split, .metaspace, .digits: result.steps.append(.expression("\(self)"))
        }
    }
}
