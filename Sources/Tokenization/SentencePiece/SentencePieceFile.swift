import Foundation
import SwiftProtobuf

extension BytePairTokenizer {
    /// The largest `tokenizer.model` in use has about 4 MB.
    private static let maximumModelBytes = 32 << 20

    /// Reads a `tokenizer.model`: a SentencePiece model of type BPE.
    ///
    /// With `addSpecialTokens` it puts BOS in front of a text, and EOS behind it only if `tokenizer_config.json` beside it
    /// asks for that: what the LLaMA family expects. Control pieces that a text spells are read as plain characters.
    ///
    /// - Throws: `TokenizerError`, naming file and key.
    public init(sentencePieceModel url: URL) throws {
        let data = try readTokenizerFile(at: url, limit: Self.maximumModelBytes)
        let pieceCount = data.withUnsafeBytes(SentencePieceReader.pieceCount)
        guard pieceCount <= SentencePieceReader.maximumPieceCount else {
            let reason = "more than \(SentencePieceReader.maximumPieceCount)"
            throw TokenizerError.malformed(file: url.path, key: "pieces", reason: reason)
        }
        let proto: Sentencepiece_ModelProto
        do {
            proto = try Sentencepiece_ModelProto(serializedBytes: data)
        } catch {
            throw TokenizerError.malformed(file: url.path, key: "", reason: "not a SentencePiece model (\(error))")
        }
        let reader = try SentencePieceReader(file: url.path, proto: proto)
        let vocabulary = try reader.vocabulary()
        let boundaries = try reader.boundaries()
        let named = try NamedSpecialTokens(directory: url.deletingLastPathComponent())
        self.init(
            normalizer: reader.normalizer(),
            preTokenizer: nil,
            model: BytePairModel(
                vocabulary: vocabulary,
                merges: try reader.merges(of: vocabulary),
                unit: .scalars,
                unknown: try reader.unknown(),
                fusesUnknown: true,
                byteFallback: proto.trainerSpec.byteFallback,
                ignoresMerges: false
            ),
            postProcessor: try named.applied(
                to: PostProcessor(prefix: [boundaries.beginOfSequence].compactMap { $0 }),
                beginOfSequence: boundaries.beginOfSequence,
                endOfSequence: boundaries.endOfSequence
            ),
            decoder: reader.decoder(),
            addedTokens: try reader.addedTokens(),
            beginOfSequence: boundaries.beginOfSequence,
            endOfSequence: boundaries.endOfSequence
        )
    }
}
