import Foundation
import ModelDescription
import Synchronization
import TestSupport
import Testing
import Tokenization

@testable import LanguageModel

/// Counts like `CountingModel`, and records what its contexts were asked.
private final class RecordingModel: CausalLanguageModel {
    struct Record: Sendable {
        /// Sequences of each batch, with the tokens of each.
        var batches: [[Int: [Int]]] = []
        var sequences = 0
        var mostSequences = 0
    }

    let configuration: ModelConfiguration
    let record = Mutex(Record())
    private let bytesPerPosition: Int
    private let willDecode: @Sendable (TokenBatch) throws -> Void

    init(
        vocabulary: Int = 30, maximumPositions: Int = 100_000, bytesPerPosition: Int = 1,
        willDecode: @escaping @Sendable (TokenBatch) throws -> Void = { _ in }
    ) throws {
        configuration = try CountingModel(vocabulary: vocabulary, maximumPositions: maximumPositions).configuration
        self.bytesPerPosition = bytesPerPosition
        self.willDecode = willDecode
    }

    func cacheByteCount(positions: Int) -> Int { positions * bytesPerPosition }

    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        Context(self, limits)
    }

    private final class Context: DecodingContext {
        let model: RecordingModel
        let inner: PredictingContext
        var limits: DecodingLimits { inner.limits }

        init(_ model: RecordingModel, _ limits: DecodingLimits) {
            self.model = model
            let vocabulary = model.configuration.vocabularySize
            inner = PredictingContext(limits: limits, vocabularySize: vocabulary, willDecode: model.willDecode) {
                ($0.last! + 1) % vocabulary
            }
        }

        func makeSequence(capacity: Int) throws -> SequenceID {
            let id = try inner.makeSequence(capacity: capacity)
            model.record.withLock {
                $0.sequences += 1
                $0.mostSequences = max($0.mostSequences, $0.sequences)
            }
            return id
        }
        func removeSequence(_ id: SequenceID) {
            inner.removeSequence(id)
            model.record.withLock { $0.sequences -= 1 }
        }
        func length(of id: SequenceID) -> Int { inner.length(of: id) }
        func truncate(_ id: SequenceID, to length: Int) { inner.truncate(id, to: length) }
        func decode(_ batch: TokenBatch) throws {
            let slices = batch.slices.map { ($0.sequence.index, Array(batch.tokens[$0.rows])) }
            model.record.withLock { $0.batches.append(Dictionary(uniqueKeysWithValues: slices)) }
            try inner.decode(batch)
        }
        func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
            try inner.withLogits(row: row, body)
        }
    }
}

@Suite("The generation engine")
struct GenerationEngineTests {
    private let tokenizer = LetterTokenizer()
    private func greedy(_ count: Int) -> GenerateParameters { GenerateParameters(maxTokens: count, temperature: 0) }

    private func text(_ stream: AsyncThrowingStream<Generation, any Error>) async throws -> String {
        var text = ""
        for try await part in stream {
            if case .chunk(let piece) = part { text += piece }
        }
        return text
    }

    /// Waits for what comes soon.
    private func eventually(_ condition: () -> Bool) async throws {
        for _ in 0..<5000 where !condition() { try await Task.sleep(for: .milliseconds(1)) }
        #expect(condition())
    }

    @Test("Running texts and a prompt that is read share each pass, and the prompt is read in chunks")
    func sharedPasses() throws {
        let model = try RecordingModel()
        let long = [Int](repeating: 0, count: 400)
        var texts = ["", ""]
        _ = try generate(
            prompts: [[4], long], model: model, tokenizer: tokenizer, parameters: greedy(6)
        ) { texts[$0] += $1 }
        #expect(texts == ["fghijk", "bcdefg"])
        let batches = model.record.withLock { $0.batches }
        // 128 tokens of prompts in each pass, and then beside a token of the other text.
        #expect(batches.prefix(4).map { $0[1]?.count } == [127, 128, 128, 17])
        #expect(batches.prefix(4).map { $0[0]?.count } == [1, 1, 1, 1])
        #expect(batches.count == 9)
        #expect(model.record.withLock { $0.sequences } == 0)
    }

    @Test("A short prompt does not wait for a long one, and begins while that is read")
    func promptsShareChunks() throws {
        let model = try RecordingModel()
        let prompts = [[Int](repeating: 0, count: 5000), [3, 4]]
        var order: [Int] = []
        _ = try generate(prompts: prompts, model: model, tokenizer: tokenizer, parameters: greedy(5)) { index, _ in
            order.append(index)
        }
        #expect(order == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    }

    @Test("Requests wait until there is memory for their keys and values; one that never fits fails alone")
    func admission() async throws {
        // The first pass waits until all requests are there: none of them ends before the others have come.
        let gate = DispatchSemaphore(value: 0)
        let model = try RecordingModel(bytesPerPosition: 100) { _ in
            gate.wait()
            gate.signal()
        }
        let engine = GenerationEngine(
            model: model, tokenizer: tokenizer, limits: GenerationLimits(sequences: 8, cacheBytes: 2_200))
        // 10 positions and 1,000 bytes each: two at a time.
        let streams = (0..<5).map { engine.generate(prompt: [$0], parameters: greedy(9)) }
        let tooLarge = engine.generate(prompt: [0], parameters: greedy(30))
        let last = engine.generate(prompt: [20], parameters: greedy(2))
        gate.signal()
        for (index, stream) in streams.enumerated() {
            #expect(try await text(stream) == String("bcdefghijklmnopq".dropFirst(index).prefix(9)))
        }
        await #expect(
            throws: LanguageModelError.notEnoughMemory(
                needed: 3_100, available: 2_200, purpose: "the keys and values of 31 tokens")
        ) { try await text(tooLarge) }
        #expect(try await text(last) == "vw")
        #expect(model.record.withLock { $0.mostSequences } == 2)
        #expect(model.record.withLock { $0.sequences } == 0)
    }

    @Test("A reader who does not read holds up its own text only, and memory stays bounded")
    func backPressure() async throws {
        let model = try RecordingModel()
        let engine = GenerationEngine(model: model, tokenizer: tokenizer)
        var slow = engine.generate(prompt: [0], parameters: greedy(5000)).makeAsyncIterator()
        _ = try await slow.next()
        // A reader who reads gets a text of thousands of tokens meanwhile.
        #expect(try await text(engine.generate(prompt: [0], parameters: greedy(2000))).count == 2000)
        let ahead = model.record.withLock { $0.batches.count { $0[0] != nil } }
        #expect(ahead < 100, "the slow text has slot 0")
        // And goes on where it was.
        var count = 1
        while let part = try await slow.next() {
            if case .chunk(let piece) = part { count += piece.count }
        }
        #expect(count == 5000)
    }

    @Test("A request that is left or cancelled frees its memory and leaves the others alone")
    func cancellation() async throws {
        let model = try RecordingModel()
        let engine = GenerationEngine(model: model, tokenizer: tokenizer)
        let other = engine.generate(prompt: [3], parameters: greedy(3000))
        for try await _ in engine.generate(prompt: [0], parameters: .greedy) { break }
        let isReading = Atomic(false)
        let task = Task {
            for try await _ in engine.generate(prompt: [1], parameters: .greedy) {
                isReading.store(true, ordering: .releasing)
            }
        }
        try await eventually { isReading.load(ordering: .acquiring) }
        task.cancel()
        try await task.value
        #expect(try await text(other).count == 3000)
        try await eventually { model.record.withLock { $0.sequences } == 0 }
        #expect(try await text(engine.generate(prompt: [0], parameters: greedy(3))) == "bcd")
    }

    @Test("A pass is given up when nobody waits for it any more")
    func cancelledPass() async throws {
        let isDecoding = Atomic(false)
        let model = try RecordingModel { batch in
            guard batch.tokens.first == 7 else { return }
            isDecoding.store(true, ordering: .releasing)
            while !Task.isCancelled { usleep(500) }
            throw CancellationError()
        }
        let engine = GenerationEngine(model: model, tokenizer: tokenizer)
        let task = Task { try await text(engine.generate(prompt: [7], parameters: .greedy)) }
        try await eventually { isDecoding.load(ordering: .acquiring) }
        task.cancel()
        // The stream of a cancelled task ends.
        #expect(try await task.value == "")
        #expect(try await text(engine.generate(prompt: [0], parameters: greedy(3))) == "bcd")
    }

    @Test("A request that fails in a batch fails alone")
    func failure() async throws {
        let model = try RecordingModel { batch in
            // The letter after x cannot be computed, in whatever company.
            if batch.tokens.contains(23) { throw LanguageModelError.nonFiniteLogits(position: 3) }
        }
        let engine = GenerationEngine(model: model, tokenizer: tokenizer)
        let streams = [0, 20, 2].map { engine.generate(prompt: [$0], parameters: greedy(12)) }
        #expect(try await text(streams[0]) == "bcdefghijklm")
        await #expect(throws: LanguageModelError.nonFiniteLogits(position: 3)) { try await text(streams[1]) }
        #expect(try await text(streams[2]) == "defghijklmno")
        await #expect(throws: LanguageModelError.noTokens) {
            try await text(engine.generate(prompt: [], parameters: .greedy))
        }
        #expect(model.record.withLock { $0.sequences } == 0)
    }

    @Test("Conversations that are not in use make room for others, and are read again")
    func eviction() async throws {
        let model = try ScriptedModel(["One.", "Two.", "Three."])
        let small = GenerationEngine(
            model: model, tokenizer: ChatTokenizer(), limits: GenerationLimits(sequences: 2))
        let container = ModelContainer(engine: small, chatTemplate: try .chatML())
        let sessions = try (0..<3).map { _ in try ChatSession(container, generateParameters: .greedy) }
        for answer in ["One.", "Two.", "Three."] {
            for session in sessions { #expect(try await session.respond(to: "?") == answer) }
        }
        // One more conversation than sequences: each was dropped before its next question.
        let prompts = model.decodedTokens.filter { $0.count > 1 }
        #expect(prompts.count == 9)
        #expect(prompts.allSatisfy { $0.first == ChatTokenizer.start })
    }

    @Test("A conversation that is not needed any more frees its keys and values")
    func releasedSession() async throws {
        let model = try RecordingModel(vocabulary: ChatTokenizer().vocabularySize)
        let container = try ModelContainer.chatML(model)
        var session: ChatSession? = try ChatSession(
            container, generateParameters: GenerateParameters(maxTokens: 3, temperature: 0))
        _ = try await session?.respond(to: "?")
        #expect(model.record.withLock { $0.sequences } == 1)
        session = nil
        try await eventually { model.record.withLock { $0.sequences } == 0 }
    }

    @Test("The chunk of a prompt shrinks while passes take too long, and depends on the model alone otherwise")
    func promptChunks() {
        var large = PromptChunk(parameterCount: 7_000_000_000, maximum: .max)
        #expect(large.size == 8)
        large.adapt(to: .milliseconds(50), tokens: 8)
        #expect(large.size == 16)
        large.adapt(to: .milliseconds(300), tokens: 16)
        #expect(large.size == 8)
        large.adapt(to: .seconds(3), tokens: 8)
        #expect(large.size == 8)
        // A pass that was no whole chunk says nothing.
        large.adapt(to: .milliseconds(1), tokens: 7)
        #expect(large.size == 8)
        var small = PromptChunk(parameterCount: 260_000, maximum: .max)
        for milliseconds in [1, 30, 199] {
            small.adapt(to: .milliseconds(milliseconds), tokens: 128)
            #expect(small.size == 128)
        }
        #expect(PromptChunk(parameterCount: 260_000, maximum: 5).size == 5)
    }
}
