import AsyncAlgorithms
import Foundation
import Hummingbird
import JSON
import LanguageModel
import NIOCore
import Synchronization
import Tokenization

/// What all routes share: the model, and what is asked of it at the moment.
final class ServedModel: Sendable {
    let container: ModelContainer
    let settings: ServerSettings
    let metrics = Metrics()
    let created = Int(Date.now.timeIntervalSince1970)
    private let mostTexts: Int
    private let texts = Mutex(0)
    private let deadline = Mutex<ContinuousClock.Instant?>(nil)

    init(_ container: ModelContainer, settings: ServerSettings, sequences: Int) {
        (self.container, self.settings) = (container, settings)
        mostTexts = sequences + settings.queueLength
    }

    var model: any CausalLanguageModel { container.model }
    var tokenizer: any Tokenizer { container.tokenizer }
    /// Most tokens of a text with its prompt.
    var context: Int { min(settings.context ?? .max, model.configuration.maximumPositions) }
    var textsInFlight: Int { texts.withLock { $0 } }

    /// Has the streams that are still under way after a time end with an error event, in place of being cut off.
    func endStreams(in time: Duration) { deadline.withLock { $0 = .now + time } }

    private var isOver: Bool { deadline.withLock { $0.map { .now >= $0 } ?? false } }

    /// A place in the queue for so many texts, given up when it is released.
    ///
    /// - Throws: ``APIError/queueFull``
    func admit(_ count: Int) throws -> Admission {
        try texts.withLock { texts in
            // The texts of one request go in together, though they may be more than the queue has room for.
            guard texts < mostTexts else { throw APIError.queueFull }
            texts += count
        }
        return Admission { [self] in texts.withLock { $0 -= count } }
    }

    final class Admission: Sendable {
        private let end: @Sendable () -> Void

        init(_ end: @escaping @Sendable () -> Void) { self.end = end }

        deinit { end() }
    }

    /// Whose prompts may share what was read of them: those of one key.
    func prefixScope(of request: Request) -> PrefixScope {
        PrefixScope("key \(settings.keyIndex(of: request) ?? -1)")
    }

    /// How a token reads by itself; of a part of a character, U+FFFD.
    func text(of token: Int) -> String { String(decoding: tokenizer.bytes(of: token), as: UTF8.self) }
}

/// The texts of one request on their way, and how they are told of.
protocol TextRun {
    /// One for each text.
    var inputs: [GenerationRequest.Input] { get }
    var fields: SamplingFields { get }

    /// Takes a part of a text in.
    mutating func take(_ index: Int, _ part: GenerationEngine.Part)
    /// The answer as a whole, when all texts have ended.
    func answer() -> JSONValue
    /// The chunks before the first part.
    mutating func opening() -> [JSONValue]
    /// Chunks of what has come since the last call.
    mutating func chunks() -> [JSONValue]
    /// The chunk of counts at the end of a stream.
    func usageChunk() -> JSONValue
}

extension ServedModel {
    /// Runs the texts of a request, and answers whole or as a stream of events.
    ///
    /// - Throws: ``APIError``, and what the texts fail with before a stream has begun.
    func respond(to request: Request, context: ServerContext, with run: some TextRun & Sendable) async throws
        -> Response
    {
        let admission = try admit(run.inputs.count)
        let scope = run.fields.usesCache ? prefixScope(of: request) : nil
        var response =
            run.fields.streams
            ? stream(run, scope: scope, request: request, channel: context.channel, admission: admission)
            : try await whole(run, scope: scope, request: request, admission: admission)
        // Watching for a client that leaves takes the rest of the connection.
        response.headers[.connection] = "close"
        return response
    }

    private func whole(
        _ run: some TextRun & Sendable, scope: PrefixScope?, request: Request, admission: Admission
    ) async throws -> Response {
        let begin = ContinuousClock.now
        do {
            let answer = try await request.body.consumeWithCancellationOnInboundClose { _ in
                var run = run
                var hasBegun = false
                for try await (index, part) in container.engine.generate(run.inputs, prefixScope: scope) {
                    if !hasBegun { metrics.observe(firstToken: ContinuousClock.now - begin) }
                    hasBegun = true
                    if case .info(let info) = part { metrics.observe(info) }
                    run.take(index, part)
                }
                // A stream of a cancelled task just ends.
                try Task.checkCancellation()
                return run.answer()
            }
            withExtendedLifetime(admission) {}
            return Response(answer)
        } catch is CancellationError {
            metrics.countCancellation()
            throw CancellationError()
        }
    }

    private enum Event: Sendable {
        case part(index: Int, GenerationEngine.Part)
        case tick
        case failure(any Error)
        case end
    }

    /// Server-sent events (WHATWG HTML, section 9.2), as OpenAI's API has them.
    private func stream(
        _ run: some TextRun & Sendable, scope: PrefixScope?, request: Request, channel: any Channel,
        admission: Admission
    ) -> Response {
        let body = ResponseBody { [self] writer in
            let begin = ContinuousClock.now
            // Sending waits for the one who writes: what is generated ahead of a client that reads slowly is what the buffer holds.
            let events = AsyncChannel<Event>()
            let pump = Task { [self] in
                do {
                    let parts = container.engine.generate(run.inputs, prefixScope: scope)
                    for try await (index, part) in parts.buffer(policy: .bounded(settings.partsAhead)) {
                        await events.send(.part(index: index, part))
                    }
                    await events.send(.end)
                } catch {
                    await events.send(.failure(error))
                }
            }
            let ticker = Task {
                while !isOver {
                    try await Task.sleep(for: Self.tick)
                    await events.send(.tick)
                }
                await events.send(.failure(APIError.shuttingDown))
            }
            defer {
                pump.cancel()
                ticker.cancel()
                withExtendedLifetime(admission) {}
            }
            do {
                try await request.body.consumeWithCancellationOnInboundClose { _ in
                    var run = run
                    var hasBegun = false
                    var lastWrite = begin
                    func write(_ chunks: [JSONValue], _ more: String = "") async throws {
                        let text = chunks.reduce(into: "") { $0 += "data: \($1.serialized())\n\n" } + more
                        guard !text.isEmpty else { return }
                        lastWrite = ContinuousClock.now
                        // A client that does not read holds memory, and the text itself.
                        let limit = channel.eventLoop.scheduleTask(in: TimeAmount(settings.readingTime)) {
                            channel.close(promise: nil)
                        }
                        defer { limit.cancel() }
                        try await writer.write(ByteBuffer(string: text))
                    }
                    try await write(run.opening())
                    for await event in events {
                        switch event {
                        case .part(let index, let part):
                            if !hasBegun { metrics.observe(firstToken: ContinuousClock.now - begin) }
                            hasBegun = true
                            if case .info(let info) = part { metrics.observe(info) }
                            run.take(index, part)
                            // Tokens of fast models share their chunks.
                            if ContinuousClock.now - lastWrite >= Self.tick { try await write(run.chunks()) }
                        case .tick:
                            try await write(run.chunks())
                            if ContinuousClock.now - lastWrite >= .seconds(1) { try await write([], ": ping\n\n") }
                        case .failure(let error):
                            try Task.checkCancellation()
                            try await write(run.chunks() + [APIError(error).json], "data: [DONE]\n\n")
                            return
                        case .end:
                            try await write(
                                run.chunks() + (run.fields.includesUsage ? [run.usageChunk()] : []), "data: [DONE]\n\n")
                            return
                        }
                    }
                }
            } catch {
                metrics.countCancellation()
                throw error
            }
            try await writer.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [.contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-store"], body: body)
    }

    private static let tick = Duration.milliseconds(20)
}
