import Foundation
import JSON
import SwiftProtobuf

extension BytePairTokenizer {
    /// Reads a SentencePiece model of type BPE.
    ///
    /// With `addSpecialTokens` it puts BOS in front of a text, and EOS behind it only if `tokenizer_config.json` beside it
    /// asks for that: what the LLaMA family expects. Control pieces, and tokens that the files beside it add or name, are
    /// found in texts as transformers finds them: with `legacy` in `tokenizer_config.json` a text behind one begins with a
    /// word separator, as every text does at its beginning.
    ///
    /// - Parameter url: the file, beside which others are looked for.
    /// - Throws: `TokenizerError`, `JSONNodeError`.
    init(sentencePieceModel data: Data, at url: URL) throws {
        let pieceCount = data.withUnsafeBytes(SentencePieceReader.pieceCount)
        guard pieceCount <= SentencePieceReader.maximumPieceCount else {
            let reason = "more than \(SentencePieceReader.maximumPieceCount)"
            throw TokenizerError.malformed(file: url.path, key: "pieces", reason: reason)
        }
        let proto: Sentencepiece_ModelProto
        do {
            proto = try Sentencepiece_ModelProto(serializedBytes: data)
        } catch {
            throw TokenizerError.malformed(
                file: url.path, key: "",
                reason:
                    "neither a SentencePiece model (\(error)) nor a tiktoken vocabulary, which has a token in base 64, a "
                    + "space and its rank on each line")
        }
        let configuration = try TokenizerConfiguration(directory: url.deletingLastPathComponent())
        let reader = try SentencePieceReader(file: url.path, proto: proto, configuration: configuration)
        let vocabulary = try reader.vocabulary()
        let addedTokens = try reader.addedTokens(vocabulary)
        let boundaries = try reader.boundaries()
        func id(of token: String?) -> Int? { token.flatMap(addedTokens.id(of:)) }
        let beginOfSequence = id(of: configuration.beginOfSequence) ?? boundaries.beginOfSequence
        let endOfSequence = id(of: configuration.endOfSequence) ?? boundaries.endOfSequence
        self.init(
            normalizer: reader.normalizer(),
            preTokenizer: nil,
            model: BytePairModel(
                vocabulary: vocabulary,
                merges: try reader.merges(of: vocabulary),
                unit: .scalars,
                unknown: .id(try reader.unknown()),
                fusesUnknown: true,
                byteFallback: proto.trainerSpec.byteFallback,
                ignoresMerges: false
            ),
            postProcessor: configuration.applied(
                to: PostProcessor(prefix: [beginOfSequence].compactMap { $0 }),
                beginOfSequence: beginOfSequence,
                endOfSequence: endOfSequence
            ),
            decoder: reader.decoder(),
            addedTokens: addedTokens,
            beginOfSequence: beginOfSequence,
            endOfSequence: endOfSequence
        )
    }
}

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
    private let configuration: TokenizerConfiguration
    /// When a text gets SentencePiece's dummy prefix.
    private let prefixScheme: Metaspace.PrependScheme

    /// Wraps a parsed file.
    ///
    /// - Throws: `TokenizerError` where it asks for something that is not supported.
    init(file: String, proto: Sentencepiece_ModelProto, configuration: TokenizerConfiguration) throws {
        self.file = file
        self.proto = proto
        self.configuration = configuration
        let addsPrefix = try configuration.root["add_prefix_space"].boolean(default: true)
        let isLegacy = try configuration.root["legacy"].boolean(default: false)
        prefixScheme =
            addsPrefix && proto.normalizerSpec.addDummyPrefix ? (isLegacy ? .always : .first) : .never
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
                var start = 0
                while start < spelling.count {
                    let end = start + utf8Length(ofLeadingByte: spelling[start])
                    guard vocabulary.id(of: UnsafeBufferPointer(rebasing: spelling[start..<end])) != nil else {
                        throw malformed("pieces[\(id)].piece", "has a character that is no piece itself")
                    }
                    start = end
                }
                merges.insertCuts(of: id, spelled: spelling, rank: rank) { part in
                    vocabulary.id(of: part).flatMap { isNormal[$0] ? $0 : nil }
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

    /// Control pieces and the unknown one, the pieces that are always kept whole, and the tokens of the files beside.
    ///
    /// User-defined pieces are looked for in the normalized text, where SentencePiece does, everything else in the text as
    /// given: transformers has no normalizer for these tokenizers.
    func addedTokens(_ vocabulary: Vocabulary) throws -> AddedTokens {
        let kinds: [Sentencepiece_ModelProto.SentencePiece.TypeEnum] = [.control, .unknown, .userDefined]
        let known = try proto.pieces.enumerated().filter { kinds.contains($0.element.type) }.map { id, piece in
            let place = JSONNode(nil, file: file, path: "pieces[\(id)].piece")
            let isUserDefined = piece.type == .userDefined
            let token = AddedToken(
                id: id, content: String(decoding: piece.piece, as: UTF8.self), isNormalized: isUserDefined,
                isSpecial: !isUserDefined)
            return try AddedTokenEntry(token, id: place, content: place)
        }
        var entries = try configuration.addedTokens(known: known, beside: vocabulary)
        for index in entries.indices.dropFirst(known.count) { entries[index].token.isNormalized = false }
        return try AddedTokens(checking: entries, vocabulary, nil)
    }

    func normalizer() -> Normalizer {
        var steps: [Normalizer] = []
        if proto.normalizerSpec.removeExtraWhitespaces { steps.append(.collapseSpaces) }
        steps.append(.dummyPrefix(Self.separator, prefixScheme))
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
        if prefixScheme != .never || spec.removeExtraWhitespaces {
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
