import Foundation
import JSON
import TensorFiles
import TestSupport
import Testing
import Tokenization

@testable import OneBitTraining
@testable import ResumableRuns

@Suite("A corpus as a file of tokens")
struct CorpusFileTests {
    private struct Stop: Error {}
    private let folder: TemporaryDirectory
    private let lines = "{\"text\":\"ab\"}\n{\"tokens\":[5,6]}\n{\"text\":\"zzz\"}\n"
    private let expected: [Int32] = [1, 3, 4, 1, 5, 6, 1, 28, 28, 28]

    init() throws {
        folder = try TemporaryDirectory()
        try folder.write("{}", as: "tokenizer.json")
    }

    private func encoding(
        vocabularySize: Int = 32, closesDocuments: Bool = false, selection: Corpus.Selection = .all
    ) throws -> CorpusEncoding {
        try CorpusEncoding(
            tokenizer: LetterTokenizer(), directory: folder.url, vocabularySize: vocabularySize,
            closesDocuments: closesDocuments, selection: selection)
    }

    private func ids(_ stream: any TokenStream) throws -> [Int32] {
        var ids: [Int32] = []
        try stream.forEach(in: 0..<stream.count) { ids.append(Int32($0)) }
        return ids
    }

    /// The corpus's tokens, and whether they were made anew.
    private func open(_ corpus: URL, _ encoding: CorpusEncoding? = nil) throws -> (file: TokenFile, isNew: Bool) {
        var isNew = false
        let file = try TokenFile.current(
            folder.file("corpus.tokens"), of: corpus, encoding: try encoding ?? self.encoding()
        ) { _ in isNew = true }
        return (file, isNew)
    }

    @Test(
        "It holds what the corpus's stream holds, two bytes an id or four; lines, plain text and gzip",
        arguments: [32, 70_000])
    func contents(vocabularySize: Int) throws {
        let encoding = try encoding(vocabularySize: vocabularySize)
        for (name, data, stream) in [
            ("corpus.jsonl", Data(lines.utf8), expected), ("corpus.jsonl.gz", zipped(Data(lines.utf8)), expected),
            ("corpus.txt", Data("abc".utf8), [1, 3, 4, 5]), ("corpus.txt.gz", zipped(Data("abc".utf8)), [1, 3, 4, 5]),
            ("empty.jsonl", Data(), []),
        ] {
            let corpus = try folder.write(data, as: name)
            let file = try TokenFile.current(folder.file("\(name).tokens"), of: corpus, encoding: encoding)
            #expect(try ids(file) == stream, "\(name)")
            #expect(file.digest == stream.digest, "a stream's digest does not depend on where it lies")
            let bytes = try Data(contentsOf: folder.file("\(name).tokens")).count
            #expect(bytes == 72 + stream.count * (vocabularySize == 32 ? 2 : 4))
        }
    }

    @Test(
        "It is made once, and again where contents, tokenizer, or what is taken have changed; a time alone changes nothing"
    )
    func reuse() throws {
        let corpus = try folder.write(lines, as: "corpus.jsonl")
        #expect(try open(corpus).isNew)
        #expect(try !open(corpus).isNew)
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1)], ofItemAtPath: corpus.path)
        #expect(try !open(corpus).isNew)
        // A place and a name are not contents.
        try FileManager.default.moveItem(at: corpus, to: folder.file("other.jsonl"))
        #expect(try !open(folder.file("other.jsonl")).isNew)
        try folder.write(lines + "{\"text\":\"c\"}\n", as: "other.jsonl")
        let grown = try open(folder.file("other.jsonl"))
        #expect(grown.isNew)
        #expect(try ids(grown.file) == expected + [1, 5])
        for changed in [
            try encoding(closesDocuments: true), try encoding(vocabularySize: 33), try encoding(selection: .heldOut),
        ] {
            #expect(try open(folder.file("other.jsonl"), changed).isNew)
        }
        #expect(try open(folder.file("other.jsonl")).isNew)
        try folder.write("{\"added\":1}", as: "tokenizer.json")
        #expect(try open(folder.file("other.jsonl")).isNew)
    }

    @Test("Held-out documents and the others are all documents")
    func selections() throws {
        let corpus = try folder.write((3..<63).map { "{\"tokens\":[\($0)]}\n" }.joined(), as: "corpus.jsonl")
        func documents(_ selection: Corpus.Selection) throws -> [Int32] {
            try ids(open(corpus, encoding(vocabularySize: 100, selection: selection)).file).filter { $0 != 1 }
        }
        #expect(try documents(.heldOut) == [3, 23, 43])
        #expect(try documents(.heldOut).count + documents(.notHeldOut).count == 60)
        #expect(try Set(documents(.heldOut) + documents(.notHeldOut)) == Set(documents(.all)))
        // Of a corpus of any size, no more than 2,000.
        #expect(Corpus.Selection.heldOut.includes(39_980) && !Corpus.Selection.heldOut.includes(40_000))
        #expect(Corpus.Selection.notHeldOut.includes(40_000) && Corpus.Selection.heldOut.ends(at: 40_000))
    }

    @Test("A file that is cut short, changed anywhere, or none of ours is refused by name, whatever its header claims")
    func damaged() throws {
        let corpus = try folder.write(lines, as: "corpus.jsonl")
        _ = try open(corpus)
        let url = folder.file("corpus.tokens")
        let good = try Data(contentsOf: url)
        func expectRefusal(_ data: Data, _ why: String? = nil, sourceLocation: SourceLocation = #_sourceLocation) throws
        {
            try data.write(to: url)
            #expect(sourceLocation: sourceLocation) {
                _ = try open(corpus)
            } throws: { error in
                guard case .damagedTokenFile(let file, let reason)? = error as? TrainingError else { return false }
                #expect(why.map(reason.contains) ?? true, "\(reason)", sourceLocation: sourceLocation)
                return file.lastPathComponent == "corpus.tokens"
            }
        }
        for count in [0, 8, 71, 73, good.count - 1, good.count - 2] { try expectRefusal(good.prefix(count)) }
        for offset in good.indices {
            var data = good
            data[offset] ^= 0x10
            try expectRefusal(data)
        }
        /// The header with a field replaced and its checksum made to fit.
        func header(_ offset: Int, _ bytes: [UInt8]) -> Data {
            var data = good
            data.replaceSubrange(offset..<offset + bytes.count, with: bytes)
            let hash = Array(data[..<64]).withUnsafeBytes { xxHash64($0) }
            data.replaceSubrange(64..<72, with: withUnsafeBytes(of: hash.littleEndian) { Array($0) })
            return data
        }
        try expectRefusal(header(0, Array("SomeFile".utf8)), "does not begin")
        try expectRefusal(header(8, [2, 0, 0, 0]), "version is 2")
        for width: UInt8 in [0, 1, 8] { try expectRefusal(header(12, [width, 0, 0, 0]), "ids of \(width) bytes") }
        for count in [11, UInt64.max, UInt64.max / 2 + 6] {
            try expectRefusal(header(24, withUnsafeBytes(of: count.littleEndian) { Array($0) }), "\(count) ids")
        }
        try expectRefusal(header(16, [UInt8](repeating: 0xFF, count: 8)), "vocabulary")
        try expectRefusal(header(16, [28, 0, 0, 0, 0, 0, 0, 0]), "outside the vocabulary of 28")
        try FileManager.default.removeItem(at: url)
        #expect(try open(corpus).isNew)
    }

    @Test("Where making it fails or is stopped, nothing is left, and what was there stays")
    func unfinished() throws {
        let corpus = try folder.write(lines, as: "corpus.jsonl")
        let url = folder.file("corpus.tokens")
        #expect(throws: Stop.self) {
            try TokenFile.current(url, of: corpus, encoding: encoding()) { _ in throw Stop() }
        }
        #expect(try folder.entries == ["corpus.jsonl", "tokenizer.json"])
        let old = try open(corpus).file
        try folder.write("{\"tokens\":[99]}\n", as: "corpus.jsonl")
        #expect(throws: TrainingError.self) { try open(corpus) }
        #expect(try folder.entries == ["corpus.jsonl", "corpus.tokens", "tokenizer.json"])
        #expect(try ids(old) == expected, "a mapped file outlives its replacement")
    }

    @Test("A cancelled task stops making it")
    func cancelled() async throws {
        let corpus = try folder.write(String(repeating: lines, count: 20_000), as: "corpus.jsonl")
        let (url, encoding) = (folder.file("corpus.tokens"), try encoding())
        let cancel = Canceller()
        let task = Task {
            try TokenFile.current(url, of: corpus, encoding: encoding) { _ in
                cancel.cancel()
                usleep(20_000)
            }
        }
        cancel.set(task.cancel)
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        #expect(try folder.entries == ["corpus.jsonl", "tokenizer.json"])
    }

    @Test("A long text is encoded in pieces that end with a line, and gives the tokens of the whole")
    func longText() throws {
        /// A token per run of characters that are space or none: as the tokenizers of byte-pair models cut.
        struct RunTokenizer: Tokenizer {
            var vocabularySize: Int { 1 << 20 }
            var beginOfSequence: Int? { nil }
            var endOfSequence: Int? { nil }
            func encode(_ text: String, addSpecialTokens: Bool) -> [Int] {
                var ids: [Int] = []
                var last: Bool?
                for byte in text.utf8 {
                    let isSpace = byte == 10 || byte == 32
                    if isSpace != last { ids.append(0) }
                    ids[ids.count - 1] = (ids[ids.count - 1] * 31 + Int(byte)) % vocabularySize
                    last = isSpace
                }
                return ids
            }
            func decode(_ ids: [Int], skipSpecialTokens: Bool) -> String { "" }
            func id(of token: String) -> Int? { nil }
            func token(of id: Int) -> String? { nil }
        }
        let line = "Ein langer Absatz über nichts, \n\n  und noch eine Zeile.\n"
        let text = String(repeating: line, count: (9 << 20) / line.utf8.count)
        let file = try folder.write(text, as: "long.txt")
        var pieces: [String] = []
        var reader = try DocumentReader(file)
        while let piece = try reader.next() { pieces.append(try #require(piece.text)) }
        #expect(pieces.count == 3 && pieces.joined() == text)
        #expect(pieces.dropLast().allSatisfy { $0.hasSuffix("Zeile.\n") })
        let tokenizer = RunTokenizer()
        #expect(
            try Corpus.tokens(of: file, tokenizer: tokenizer, vocabularySize: 1 << 20)
                == tokenizer.encode(text, addSpecialTokens: false).map(Int32.init))
        // The line of a byte that is no text, in the third piece.
        var bytes = Data(text.utf8)
        bytes[bytes.count - 2] = 0xFF
        try folder.write(bytes, as: "long.txt")
        #expect(throws: FileError.notUTF8(file: file.path, line: text.utf8.count { $0 == 10 })) {
            try Corpus.tokens(of: file, tokenizer: tokenizer, vocabularySize: 1 << 20)
        }
    }
}

@Suite("What a run is trained on")
struct TrainingCorpusTests {
    /// Streams of equal tokens: which one a segment is of shows in its ids.
    private func mixture(_ weights: [Double?], lengths: [Int]) throws -> TrainingCorpus {
        try TrainingCorpus(
            zip(weights, lengths).enumerated().map { index, part in
                TrainingCorpus.Part([Int32](repeating: Int32(index), count: part.1), weight: part.0)
            })
    }

    private func parts(_ segments: TokenSegments, _ range: Range<Int>) throws -> [Int] {
        let ids = try segments.batch(from: range.lowerBound, count: range.count).integers()
        return stride(from: 0, to: ids.count, by: segments.length).map { ids[$0] }
    }

    @Test("Each thousand segments of a mixture holds each part's share; parts without weights share by their size")
    func shares() throws {
        for (weights, lengths, expected) in [
            ([2.0, 1.0], [40, 4000], [667, 333]), ([nil, nil], [40, 120], [250, 750]),
            ([1, 1, 1], [40, 40, 40], [334, 333, 333]), ([999, 1], [40, 40], [999, 1]),
        ] as [([Double?], [Int], [Int])] {
            let segments = try TokenSegments(tokens: mixture(weights, lengths: lengths), length: 4, seed: 7)
            for block in 0..<3 {
                let parts = try parts(segments, block * 1000..<(block + 1) * 1000)
                #expect(weights.indices.map { index in parts.count { $0 == index } } == expected)
            }
            #expect(try parts(segments, 0..<1000) != parts(segments, 1000..<2000))
        }
    }

    @Test("A mixture's order is a function of seed and position, and each part's segments come epoch by epoch")
    func order() throws {
        let streams = [0..<60, 100..<200].map { $0.map(Int32.init) }
        func segments(seed: UInt64) throws -> TokenSegments {
            try TokenSegments(
                tokens: TrainingCorpus(streams.map { .init($0, weight: 1) }), length: 10, seed: seed, prefetching: 8)
        }
        let (one, other) = (try segments(seed: 5), try segments(seed: 5))
        let whole = try one.batch(from: 0, count: 2400).integers()
        for start in [0, 3, 998, 1000, 2391] {
            #expect(
                try other.batch(from: start, count: 9).integers() == Array(whole[start * 10..<(start + 9) * 10]))
        }
        #expect(try segments(seed: 6).batch(from: 0, count: 9).integers() != Array(whole[..<90]))
        let firsts = stride(from: 0, to: whole.count, by: 10).map { whole[$0] }
        for (bounds, count) in [(0..<60, 6), (100..<200, 10)] {
            let own = firsts.filter(bounds.contains)
            for epoch in 0..<5 { #expect(Set(own[epoch * count..<(epoch + 1) * count]).count == count) }
        }
    }

    @Test("One file's order does not depend on its weight; its identity is its digest, a mixture's has weights")
    func identity() throws {
        let tokens = TinyModels.ids
        let plain = try TokenSegments(tokens: TrainingCorpus(tokens), length: 8, seed: 3)
        let weighted = try TokenSegments(tokens: TrainingCorpus([.init(tokens, weight: 5)]), length: 8, seed: 3)
        #expect(try plain.batch(from: 0, count: 70).integers() == weighted.batch(from: 0, count: 70).integers())
        #expect(TinyModels.tokens.identity == ["corpus": tokens.digest])
        let identity = try TrainingCorpus([.init(tokens, weight: 2), .init([1, 2] as [Int32], weight: 1)]).identity
        #expect(
            identity == [
                "corpus.1": tokens.digest, "corpus.1.weight": "2.0", "corpus.2": ([1, 2] as [Int32]).digest,
                "corpus.2.weight": "1.0",
            ])
    }

    @Test("Weights for some parts, no positive number, less than a thousandth, and no part at all are refused by name")
    func invalidWeights() {
        for weights in [[], [1, nil], [0, 1], [-1, 1], [.nan, 1], [.infinity, 1], [1, 5000]] as [[Double?]] {
            #expect {
                _ = try TokenSegments(
                    tokens: mixture(weights, lengths: weights.map { _ in 40 }), length: 4, seed: 0)
            } throws: { error in
                guard case .invalidSetting? = error as? RunError else { return false }
                return true
            }
        }
        #expect(throws: TrainingError.corpusTooShort(tokens: 3, segment: 4)) {
            try TokenSegments(tokens: mixture([1, 1], lengths: [40, 3]), length: 4, seed: 0)
        }
    }

    @Test("While a step is computed a thread makes the next one's ids; they are those that are made when asked for")
    func prefetching() throws {
        var segments: TokenSegments? = try TokenSegments(tokens: TinyModels.tokens, length: 8, seed: 3, prefetching: 4)
        let plain = try TokenSegments(tokens: TinyModels.tokens, length: 8, seed: 3)
        for step in 0..<40 {
            for micro in [0, 2] {
                let start = step * 4 + micro
                #expect(
                    try segments?.batch(from: start, count: 2).integers()
                        == plain.batch(from: start, count: 2).integers())
            }
            let deadline = ContinuousClock.now + .seconds(20)
            while segments?.hasPrefetched(step: step + 1) == false, ContinuousClock.now < deadline { usleep(200) }
            #expect(segments?.hasPrefetched(step: step + 1) == true)
        }
        // The thread ends with its owner.
        weak let thread = segments?.prefetchingThread
        #expect(thread != nil)
        segments = nil
        let deadline = ContinuousClock.now + .seconds(20)
        while thread != nil, ContinuousClock.now < deadline { usleep(200) }
        #expect(thread == nil)
    }
}
