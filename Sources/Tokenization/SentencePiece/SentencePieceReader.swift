/// Reads the parts of a SentencePiece model of type BPE that encoding and decoding need.
struct SentencePieceReader {
    /// The word separator "▁".
    private static let separator = Array("\u{2581}".utf8)
    /// Longer pieces are refused: the time to find a piece's merges grows with the square of its length.
    private static let maximumPieceBytes = 512

    /// Models of more pieces are refused: parsed, an empty piece takes a hundred times the two bytes that it has in a file.
    static let maximumPieceCount = 1 << 20

    private let file: String
    private let proto: Sentencepiece_ModelProto

    /// Wraps a parsed file.
    ///
    /// - Throws: `TokenizerError` where it asks for something that is not supported.
    init(file: String, proto: Sentencepiece_ModelProto) throws {
        self.file = file
        self.proto = proto
        let trainer = proto.trainerSpec
        let normalizer = proto.normalizerSpec
        guard trainer.modelType == .bpe else {
            throw unsupported("trainer_spec.model_type", "\(trainer.modelType)", supported: "BPE")
        }
        guard !trainer.treatWhitespaceAsSuffix else {
            throw unsupported("trainer_spec.treat_whitespace_as_suffix", "true", supported: "false")
        }
        guard normalizer.escapeWhitespaces else {
            throw unsupported("normalizer_spec.escape_whitespaces", "false", supported: "true")
        }
        guard normalizer.precompiledCharsmap.isEmpty else {
            throw unsupported("normalizer_spec.precompiled_charsmap", "\"\(normalizer.name)\"", supported: "identity")
        }
        if let index = proto.pieces.firstIndex(where: { $0.type == .unused }) {
            throw unsupported("pieces[\(index)].type", "UNUSED", supported: "the other types")
        }
    }

    /// The number of pieces in a file, found without parsing them; as far as the bytes are a protocol buffer.
    static func pieceCount(in bytes: UnsafeRawBufferPointer) -> Int {
        var rest = bytes[...]
        var count = 0
        while let key = varint(from: &rest) {
            switch key & 7 {  // the wire type
            case 0: if varint(from: &rest) == nil { return count }
            case 1: rest = rest.dropFirst(8)
            case 2:
                guard let length = varint(from: &rest) else { return count }
                rest = rest.dropFirst(Int(clamping: length))
                if key >> 3 == 1 { count += 1 }
            case 3, 4: break  // the ends of a group
            case 5: rest = rest.dropFirst(4)
            default: return count
            }
        }
        return count
    }

    private static func varint(from bytes: inout Slice<UnsafeRawBufferPointer>) -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: 0, to: 64, by: 7) {
            guard let byte = bytes.popFirst() else { return nil }
            value |= UInt64(byte & 0x7F) << UInt64(shift)
            if byte < 0x80 { return value }
        }
        return nil
    }

    /// Every piece; its id is its index.
    func vocabulary() throws -> Vocabulary {
        guard !proto.pieces.isEmpty else { throw malformed("pieces", "missing") }
        var vocabulary = Vocabulary()
        for (id, piece) in proto.pieces.enumerated() {
            guard 1...Self.maximumPieceBytes ~= piece.piece.count else {
                let reason = "\(piece.piece.count) bytes; expected 1 to \(Self.maximumPieceBytes)"
                throw malformed("pieces[\(id)].piece", reason)
            }
            guard String(validating: piece.piece, as: UTF8.self) != nil else {
                throw malformed("pieces[\(id)].piece", "not valid UTF-8")
            }
            do throws(Vocabulary.Refusal) {
                try vocabulary.insert(Array(piece.piece), id: id)
            } catch {
                switch error {
                case .spellingTaken(let other):
                    throw malformed("pieces[\(id)].piece", "the same as pieces[\(other)]")
                case .idOutOfRange, .idTaken:
                    throw malformed("pieces", "more than \(Vocabulary.maximumID + 1)")
                }
            }
        }
        return vocabulary
    }

    /// SentencePiece merges the pair whose product has the highest score. So every way to cut a piece in two pieces is
    /// a merge, and its rank is the place of the score among all scores, the highest first.
    func merges(of vocabulary: Vocabulary) throws -> MergeTable {
        let isNormal = proto.pieces.map { $0.type == .normal }
        for (id, piece) in proto.pieces.enumerated() where !piece.score.isFinite {
            throw malformed("pieces[\(id)].score", "not a finite number")
        }
        var merges = MergeTable()
        var rank: UInt32 = 0
        var lastScore: Float?
        for id in proto.pieces.indices.filter({ isNormal[$0] }).sorted(by: scoreOrder) {
            let score = proto.pieces[id].score
            if let lastScore, score != lastScore { rank += 1 }
            lastScore = score
            try Array(proto.pieces[id].piece).withUnsafeBufferPointer { spelling in
                func normalPiece(_ range: Range<Int>) -> Int? {
                    let id = vocabulary.id(of: UnsafeBufferPointer(rebasing: spelling[range]))
                    return id.flatMap { isNormal[$0] ? $0 : nil }
                }
                var cut = 0
                while cut < spelling.count {
                    let end = cut + utf8Length(ofLeadingByte: spelling[cut])
                    guard vocabulary.id(of: UnsafeBufferPointer(rebasing: spelling[cut..<end])) != nil else {
                        throw malformed("pieces[\(id)].piece", "has a character that is no piece itself")
                    }
                    if cut > 0, let left = normalPiece(0..<cut), let right = normalPiece(cut..<spelling.count) {
                        merges.insert(left: left, right: right, rank: rank, product: id)
                    }
                    cut = end
                }
            }
        }
        return merges
    }

    private func scoreOrder(_ first: Int, _ second: Int) -> Bool {
        let scores = (proto.pieces[first].score, proto.pieces[second].score)
        return scores.0 == scores.1 ? first < second : scores.0 > scores.1
    }

    /// The id of the unknown piece.
    func unknown() throws -> Int {
        let id = Int(proto.trainerSpec.unkID)
        guard proto.pieces.indices.contains(id) else {
            throw malformed("trainer_spec.unk_id", "\(id), but there are \(proto.pieces.count) pieces")
        }
        return id
    }

    /// BOS and EOS; nil where the model has none (id −1).
    func boundaries() throws -> (beginOfSequence: Int?, endOfSequence: Int?) {
        func checked(_ id: Int32, _ key: String) throws -> Int? {
            guard id >= 0 else { return nil }
            guard Int(id) < proto.pieces.count else {
                throw malformed("trainer_spec.\(key)", "\(id), but there are \(proto.pieces.count) pieces")
            }
            return Int(id)
        }
        return (try checked(proto.trainerSpec.bosID, "bos_id"), try checked(proto.trainerSpec.eosID, "eos_id"))
    }

    /// Control pieces, which no text spells, and the pieces that are always kept whole.
    func addedTokens() throws -> AddedTokens {
        var tokens: [AddedToken] = []
        for (id, piece) in proto.pieces.enumerated() where [.control, .unknown, .userDefined].contains(piece.type) {
            let content = String(decoding: piece.piece, as: UTF8.self)
            tokens.append(AddedToken(id: id, content: content, isSpecial: piece.type != .userDefined))
        }
        let userDefined = tokens.filter { !$0.isSpecial }.map { (pattern: Array($0.content.utf8), token: $0) }
        guard userDefined.reduce(0, { $0 + $1.pattern.count }) <= AddedTokenMatcher.maximumTotalBytes else {
            throw malformed("pieces", "more than \(AddedTokenMatcher.maximumTotalBytes) bytes of user-defined pieces")
        }
        return AddedTokens(
            verbatim: [],
            normalized: userDefined,
            tokens: tokens.map { ($0, Array($0.content.utf8)) }
        )
    }

    func normalizer() -> Normalizer {
        var steps: [Normalizer] = []
        if proto.normalizerSpec.removeExtraWhitespaces { steps.append(.collapseSpaces) }
        if proto.normalizerSpec.addDummyPrefix { steps.append(.prepend(Self.separator)) }
        steps.append(.replace(.literal([UInt8(ascii: " ")]), with: Self.separator))
        return .sequence(steps)
    }

    func decoder() -> TextDecoder {
        let space = [UInt8(ascii: " ")]
        var stages: [any DecoderStage] = [
            ReplaceStage(pattern: Self.separator, content: space),
            ByteFallbackStage(invalidRun: .replacedByByte),
        ]
        let spec = proto.normalizerSpec
        if spec.addDummyPrefix || spec.removeExtraWhitespaces {
            let start = spec.removeExtraWhitespaces ? Int.max : 1
            stages.append(FusedStripStage(StripStage(content: space, start: start, stop: 0)))
        }
        return TextDecoder(stages: stages)
    }

    private func malformed(_ key: String, _ reason: String) -> TokenizerError {
        .malformed(file: file, key: key, reason: reason)
    }

    private func unsupported(_ key: String, _ found: String, supported: String) -> TokenizerError {
        .unsupported(file: file, key: key, found: found, supported: supported)
    }
}
