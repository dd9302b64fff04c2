import ModelDescription
import Tokenization

/// Most work that generation takes on at a time.
public struct GenerationLimits: Sendable, Hashable {
    /// Most texts under way at a time; the others wait.
    public var sequences: Int
    /// Most tokens of one text with its prompt; nil is the model's context.
    public var positions: Int?
    /// Most bytes of keys and values, of the texts under way and of conversations that are kept; nil is what the system
    /// has when the first text begins.
    public var cacheBytes: Int?
    /// Most sequences that are kept besides those under way, for prompts that begin alike.
    public var keptSequences: Int
    /// Tokens of prompts whose probabilities are asked for that a pass reads, besides those for which there is a row of logits in any
    /// case: each takes the memory of one.
    public var promptDetailRows: Int

    public init(
        sequences: Int = 16, positions: Int? = nil, cacheBytes: Int? = nil, keptSequences: Int = 0,
        promptDetailRows: Int = 0
    ) {
        self.sequences = sequences
        self.keptSequences = keptSequences
        self.promptDetailRows = promptDetailRows
        self.positions = positions
        self.cacheBytes = cacheBytes
    }
}

/// Continuous batching: in each forward pass every text under way gets its next token, and a chunk of the prompts is read
/// beside them. The next request takes the place of a text that ends at once.
///
/// (Yu et al. 2022, "Orca: A Distributed Serving System for Transformer-Based Generative Models"; prompts in chunks:
/// Agrawal et al. 2024, "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve".)
///
/// Used by one thread at a time. Nothing is allocated per token.
package struct GenerationScheduler {
    /// What a step has brought.
    package enum Event {
        case text(GenerationRequest, String)
        case detail(GenerationRequest, GenerationDetail)
        case end(GenerationRequest, Result<GenerateCompletionInfo, any Error>)
    }

    /// What the last step has brought, in order, until the caller has taken it.
    package private(set) var events: [Event] = []
    /// Tokens chosen so far, those that ended a text included.
    package private(set) var tokenCount = 0
    private var passCount = 0
    private var rowCount = 0
    private var cachedCount = 0

    private let model: any CausalLanguageModel
    private let tokenizer: any Tokenizer
    private let limits: DecodingLimits
    private let maximumRunning: Int
    /// Made for the first request, which is when memory is taken.
    private var context: (any DecodingContext)?
    private var batch: TokenBatch
    /// The sequences of the batch's slices.
    private var scheduled: [GenerationSequence] = []

    private var waiting: [(request: GenerationRequest, input: GenerationRequest.Input?)] = []
    private var running: [GenerationSequence] = []
    private var kept: KeptSequences
    private let reuse: PrefixReuse

    private var cacheBudget: Int?
    private var cacheBytes = 0
    private var chunk: PromptChunk

    /// - Parameter promptTokens: most tokens of a prompt, where that is known: a pass is made no larger than this.
    package init(
        model: any CausalLanguageModel, tokenizer: any Tokenizer, limits: GenerationLimits, promptTokens: Int = .max
    ) {
        self.model = model
        self.tokenizer = tokenizer
        reuse = PrefixReuse(model.configuration)
        kept = KeptSequences(reuse)
        chunk = PromptChunk(parameterCount: model.configuration.parameterCount, maximum: promptTokens)
        let longest = model.configuration.maximumPositions
        let sequences = max(1, limits.sequences)
        maximumRunning = sequences
        self.limits = DecodingLimits(
            sequences: sequences + max(0, limits.keptSequences),
            positions: max(1, min(limits.positions ?? longest, longest)),
            batchTokens: chunk.maximum + sequences - 1, logitRows: sequences + max(0, limits.promptDetailRows))
        batch = TokenBatch(capacity: self.limits.batchTokens)
        cacheBudget = limits.cacheBytes
    }

    /// Whether there is nothing to generate.
    package var isIdle: Bool { waiting.isEmpty && running.isEmpty }

    /// What it has done and what it holds.
    var statistics: GenerationStatistics {
        GenerationStatistics(
            waiting: waiting.count, running: running.count, kept: kept.count, cacheBytes: cacheBytes, passes: passCount,
            rows: rowCount, generatedTokens: tokenCount, cachedTokens: cachedCount)
    }

    /// Requests that have no sequence yet.
    package var waitingCount: Int { waiting.count }

    /// Calls `body` with each request under way and the tokens that were generated for it.
    package func forEachRunning(_ body: (GenerationRequest, ArraySlice<Int>) throws -> Void) rethrows {
        for sequence in running { try body(sequence.request, sequence.generated) }
    }

    package mutating func add(_ request: GenerationRequest) { waiting.append((request, nil)) }

    /// Frees the sequence that is kept under a key.
    mutating func removeCache(_ key: CacheKey) {
        if let sequence = kept.remove(key) { remove(sequence) }
    }

    /// Takes requests in and computes one forward pass; ``events`` then has the results.
    ///
    /// An error is its request's alone and an event like any other.
    ///
    /// - Returns: whether there was anything to do: not so where all readers are behind.
    /// - Throws: `CancellationError` when the task that it runs in is cancelled; the sequences are then as before.
    @discardableResult
    package mutating func step() throws -> Bool {
        events.removeAll(keepingCapacity: true)
        defer {
            running.removeAll { $0.isDone }
            scheduled.removeAll(keepingCapacity: true)
        }
        removeCancelled()
        admit()
        fillBatch()
        guard !scheduled.isEmpty, let context else { return !events.isEmpty }
        let begin = ContinuousClock.now
        do {
            try context.decode(batch)
        } catch let error as CancellationError {
            throw error
        } catch {
            try decodeSeparately(context, failure: error)
            return true
        }
        let time = ContinuousClock.now - begin
        passCount += 1
        rowCount += batch.tokens.count
        for index in scheduled.indices { take(index, context, time: time) }
        chunk.adapt(to: time, tokens: batch.tokens.count)
        return true
    }

    /// Lets go of the events, and so of requests that are done.
    mutating func removeEvents() { events.removeAll(keepingCapacity: true) }

    /// Steps until there is nothing more to do.
    ///
    /// - Throws: what `handle` throws, and `CancellationError`.
    mutating func run(_ handle: (Event) throws -> Void) throws {
        while !isIdle {
            try Task.checkCancellation()
            try step()
            for event in events { try handle(event) }
        }
    }

    // MARK: Requests come and go

    private mutating func removeCancelled() {
        if waiting.contains(where: { $0.request.isCancelled }) {
            for (request, _) in waiting where request.isCancelled {
                events.append(.end(request, .failure(CancellationError())))
            }
            waiting.removeAll { $0.request.isCancelled }
        }
        if running.contains(where: { $0.request.isCancelled }) {
            for sequence in running where sequence.request.isCancelled { end(sequence, .failure(CancellationError())) }
            running.removeAll { $0.isDone }
        }
    }

    /// Admits requests in the order in which they came, as long as slots and memory are free.
    private mutating func admit() {
        var index = 0
        while index < waiting.count {
            let request = waiting[index].request
            if let key = request.cacheKey, isInUse(key) {
                index += 1
                continue
            }
            do {
                let input = try waiting[index].input ?? validated(request.input())
                waiting[index].input = input
                guard running.count < maximumRunning else { return }
                if isBeingRead(request, input) {
                    index += 1
                    continue
                }
                guard let sequence = try makeSequence(request, input) else { return }
                waiting.remove(at: index)
                cachedCount += sequence.readCount
                if sequence.stopReason == nil || sequence.promptDetails != nil {
                    running.append(sequence)
                } else {
                    end(sequence, .success(sequence.info))
                }
            } catch {
                waiting.remove(at: index)
                events.append(.end(request, .failure(error)))
            }
        }
    }

    /// Whether a request with a key is under way, or its caller does not know of its end yet: the next one's prompt may follow
    /// from it.
    private func isInUse(_ key: CacheKey) -> Bool {
        running.contains { $0.request.cacheKey == key }
            || events.contains { if case .end(let request, _) = $0 { request.cacheKey == key } else { false } }
    }

    private func validated(_ input: GenerationRequest.Input) throws -> GenerationRequest.Input {
        guard input.prompt.count <= limits.positions else {
            throw GenerationError.promptTooLong(tokens: input.prompt.count, maximum: limits.positions)
        }
        try model.check(input.prompt)
        try input.parameters.validate()
        return input
    }

    /// Whether a prompt that is being read begins as this one does, so that its keys and values are there to be taken over soon: those
    /// of several texts of one prompt, or of a system prompt that many requests bring at once.
    private func isBeingRead(_ request: GenerationRequest, _ input: GenerationRequest.Input) -> Bool {
        guard let scope = request.prefixScope, input.promptDetails == nil else { return false }
        let known = kept.best(for: input.prompt, in: scope)?.common ?? 0
        return running.contains { other in
            guard other.request.prefixScope == scope, other.isReadingPrompt else { return false }
            let common = reuse.count(other.tokens, longest: other.longest, for: input.prompt)
            return common > other.readCount && common >= known + PrefixReuse.shortest
        }
    }

    /// A sequence for a request: the one kept for it, one that holds what another has read of the same beginning, or an empty one;
    /// nil while there is no memory for it.
    private mutating func makeSequence(
        _ request: GenerationRequest, _ input: GenerationRequest.Input
    ) throws -> GenerationSequence? {
        let context = try context ?? model.makeDecodingContext(limits)
        self.context = context
        func sequence(_ id: SequenceID, _ capacity: Int, longest: Int) throws -> GenerationSequence {
            let readCount = context.length(of: id)
            return try GenerationSequence(
                request, input: input, id: id, capacity: capacity, readCount: readCount,
                longest: readCount == 0 ? 0 : longest, tokenizer: tokenizer,
                endOfSequence: model.configuration.endOfSequence + [tokenizer.endOfSequence].compactMap(\.self))
        }
        if let known = request.cacheKey.flatMap({ kept.remove($0) }) {
            context.truncate(known.id, to: reuse.count(known.tokens, longest: known.longest, for: input.prompt))
            return try sequence(known.id, known.capacity, longest: known.longest)
        }
        let capacity =
            min(
                input.capacity ?? input.parameters.capacity(after: input.prompt.count, maximum: limits.positions),
                limits.positions)
        let source = input.promptDetails == nil ? request.prefixScope.flatMap { prefix(of: input.prompt, in: $0) } : nil
        if let source, source.isKept {
            if source.capacity >= capacity, source.tokenCount - source.common <= source.common / 2,
                let known = kept.remove(source.id)
            {
                // Little of it is of no use any more: it goes on as this one.
                context.truncate(known.id, to: source.common)
                return try sequence(known.id, known.capacity, longest: known.longest)
            }
            // What is copied from goes last where room has to be made.
            kept.touch(source.id)
        }
        guard try makeRoom(model.cacheByteCount(positions: capacity), positions: capacity) else { return nil }
        let id = try context.makeSequence(capacity: capacity)
        cacheBytes += model.cacheByteCount(positions: capacity)
        guard let source, !source.isKept || kept.contains(source.id) else {
            return try sequence(id, capacity, longest: 0)
        }
        context.copyBeginning(of: source.id, to: id, count: source.common)
        return try sequence(id, capacity, longest: source.longest)
    }

    /// A sequence that begins as a prompt does.
    private struct Prefix {
        let id: SequenceID
        /// Tokens that the two share.
        let common: Int
        let tokenCount: Int
        let capacity: Int
        let longest: Int
        let isKept: Bool
    }

    /// The sequence that begins most like a prompt; nil where reading these tokens again costs little.
    private func prefix(of prompt: [Int], in scope: PrefixScope) -> Prefix? {
        let best = kept.best(for: prompt, in: scope).map { known, common in
            Prefix(
                id: known.id, common: common, tokenCount: known.tokens.count, capacity: known.capacity,
                longest: known.longest,
                isKept: true)
        }
        let others = running.lazy.filter { $0.request.prefixScope == scope }.map { [reuse] other in
            Prefix(
                id: other.id,
                common: reuse.count(other.tokens.prefix(other.readCount), longest: other.longest, for: prompt),
                tokenCount: other.readCount, capacity: other.capacity, longest: other.longest, isKept: false)
        }
        let all = others + [best].compactMap(\.self)
        return all.max { $0.common < $1.common }.flatMap { $0.common >= PrefixReuse.shortest ? $0 : nil }
    }

    /// Whether a new sequence fits in, once kept sequences that are not in use are dropped for it.
    private mutating func makeRoom(_ bytes: Int, positions: Int) throws -> Bool {
        let budget = cacheBudget ?? AvailableMemory.bytesAvailable ?? .max
        cacheBudget = budget
        guard bytes <= budget else {
            throw LanguageModelError.notEnoughMemory(
                needed: bytes, available: budget, purpose: "the keys and values of \(positions) tokens")
        }
        while cacheBytes > budget - bytes || running.count + kept.count >= limits.sequences {
            guard !kept.isEmpty else { return false }
            remove(kept.removeOldest())
        }
        return true
    }

    private mutating func remove(_ sequence: KeptSequence) {
        context?.removeSequence(sequence.id)
        cacheBytes -= model.cacheByteCount(positions: sequence.capacity)
    }

    /// Ends a sequence; it is the caller's to take it out of `running`.
    private mutating func end(_ sequence: GenerationSequence, _ result: Result<GenerateCompletionInfo, any Error>) {
        sequence.isDone = true
        let rest = KeptSequence(sequence)
        var isSound = true
        if case .failure(let error) = result { isSound = error is CancellationError }
        let isShared = rest.scope?.outlivesRequests == true && limits.sequences > maximumRunning && !rest.tokens.isEmpty
        if isSound, rest.key != nil || isShared {
            kept.append(rest)
        } else {
            remove(rest)
        }
        events.append(.end(sequence.request, result))
    }

    // MARK: A pass

    private mutating func fillBatch() {
        batch.removeAll()
        scheduled.removeAll(keepingCapacity: true)
        for sequence in running where !sequence.isReadingPrompt {
            if let output = sequence.request.output, output.isFull() { continue }
            add(sequence, tokens: 1)
        }
        // Prompts share the chunk, so that a short one does not wait for all of a long one.
        var free = chunk.size
        var freeLogitRows = limits.logitRows - batch.logitRowCount
        var readers = running.count { $0.isReadingPrompt }
        for sequence in running where sequence.isReadingPrompt && free > 0 {
            var count = min(max(1, free / readers), sequence.length - sequence.readCount)
            readers -= 1
            // A row for the end of each other prompt stays free.
            if sequence.promptDetails != nil { count = min(count, freeLogitRows - readers) }
            guard count > 0 else { continue }
            freeLogitRows -= sequence.promptDetails != nil ? count : 1
            free -= count
            add(sequence, tokens: count)
        }
    }

    private mutating func add(_ sequence: GenerationSequence, tokens count: Int) {
        let end = sequence.readCount + count
        batch.append(
            sequence.tokens[sequence.readCount..<end], to: sequence.id, sequenceLength: sequence.length,
            logits: sequence.isReadingPrompt && sequence.promptDetails != nil
                ? .all : end == sequence.length ? .last : .none)
        scheduled.append(sequence)
    }

    /// Takes what a pass has brought for one of its sequences.
    private mutating func take(_ index: Int, _ context: any DecodingContext, time: Duration) {
        let sequence = scheduled[index]
        let slice = batch.slices[index]
        let readBefore = sequence.readCount
        sequence.didRead(slice.rows.count, time: time)
        do {
            if slice.logits == .all, let count = sequence.promptDetails {
                let details = try slice.rows.indices.compactMap { row in
                    try sequence.promptToken(after: readBefore + row - slice.rows.lowerBound + 1).map {
                        try TokenDetail(
                            token: $0, row: slice.firstLogitRow + row - slice.rows.lowerBound, of: context, count: count
                        )
                    }
                }
                if !details.isEmpty { events.append(.detail(sequence.request, .prompt(details))) }
            }
            guard !sequence.isReadingPrompt, slice.logits != .none else { return }
            if sequence.stopReason == nil {
                let row = slice.firstLogitRow + slice.wantedRows.count - 1
                let token = try context.withLogits(row: row) { sequence.choose(from: $0) }
                tokenCount += 1
                let detail = try sequence.tokenDetails.map {
                    GenerationDetail.token(try TokenDetail(token: token, row: row, of: context, count: $0))
                }
                var text = sequence.append(token)
                let isEnd = sequence.stopReason == .endOfSequence
                if isEnd { text += sequence.finish() }
                // The token that ends a text is no part of it, so it comes behind.
                if let detail, !isEnd { events.append(.detail(sequence.request, detail)) }
                if !text.isEmpty { events.append(.text(sequence.request, text)) }
                if let detail, isEnd { events.append(.detail(sequence.request, detail)) }
                guard sequence.stopReason != nil else { return }
            }
            let rest = sequence.finish()
            if !rest.isEmpty { events.append(.text(sequence.request, rest)) }
            end(sequence, .success(sequence.info))
        } catch {
            end(sequence, .failure(error))
        }
    }

    /// A batch has failed: computes its slices one by one, so that only the request that causes the error ends with it.
    private mutating func decodeSeparately(_ context: any DecodingContext, failure: any Error) throws {
        let failed = scheduled
        for sequence in failed { context.truncate(sequence.id, to: sequence.readCount) }
        for sequence in failed {
            let most = sequence.promptDetails == nil ? chunk.size : min(chunk.size, limits.logitRows)
            let count = sequence.isReadingPrompt ? min(most, sequence.length - sequence.readCount) : 1
            batch.removeAll()
            scheduled.removeAll(keepingCapacity: true)
            add(sequence, tokens: count)
            do {
                // Alone it would fail again, as it would without what the batch wrote over behind a sliding window.
                if failed.count == 1 || context.length(of: sequence.id) < sequence.readCount { throw failure }
                let begin = ContinuousClock.now
                try context.decode(batch)
                take(0, context, time: ContinuousClock.now - begin)
            } catch let error as CancellationError {
                throw error
            } catch {
                end(sequence, .failure(error))
            }
        }
    }
}

/// What generation has done so far, and what it holds at a moment.
package struct GenerationStatistics: Sendable, Hashable {
    /// Requests that have no sequence yet.
    package var waiting = 0
    /// Texts under way.
    package var running = 0
    /// Sequences that no text uses.
    package var kept = 0
    /// Bytes reserved for keys and values, of kept ones too.
    package var cacheBytes = 0
    /// Forward passes so far.
    package var passes = 0
    /// Their rows: tokens of prompts and of texts.
    package var rows = 0
    package var generatedTokens = 0
    /// Tokens of prompts that were not read again.
    package var cachedTokens = 0
}
