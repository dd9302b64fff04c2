// OneBitServer: a language model over HTTP, as clients of OpenAI's API speak it. May import LanguageModel, Tokenization, Jinja, JSON and
// Hummingbird; an app that runs models without a server links none of it.

import Foundation
import HTTPTypes
import Hummingbird
import JSON
import LanguageModel
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Tokenization

/// Serves one model to many clients at once.
///
/// All texts go through the model's generation engine in one batch. The same seed gives the same text, alone, among others, and
/// whatever the engine remembers of prompts.
public struct InferenceServer: Sendable {
    let served: ServedModel

    /// - Parameters:
    ///   - container: the model; its engine's limits are those of the server.
    ///   - sequences: how many texts the engine generates at a time.
    public init(_ container: ModelContainer, settings: ServerSettings, sequences: Int) {
        served = ServedModel(container, settings: settings, sequences: sequences)
    }

    /// Serves until the task is cancelled, and then until the answers under way are done, or their time is up.
    ///
    /// - Parameter onReady: called with the port, once it listens.
    /// - Throws: what the system says of the address.
    public func run(onReady: @escaping @Sendable (_ port: Int) -> Void) async throws {
        let settings = served.settings
        var logger = Logger(label: "onebit.server") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        // Everything but the waiting is done by the engine's threads and Swift's own.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let application = Application(
            router: router(), server: .http1(configuration: .init(idleTimeout: TimeAmount(settings.arrivalTime))),
            configuration: ApplicationConfiguration(
                address: .hostname(settings.host, port: settings.port), serverName: "onebit"),
            onServerRunning: { channel in onReady(channel.localAddress?.port ?? settings.port) },
            eventLoopGroupProvider: .shared(group), logger: logger)
        var configuration = ServiceGroupConfiguration(services: [application], logger: logger)
        configuration.maximumGracefulShutdownDuration = settings.drainTime
        let services = ServiceGroup(configuration: configuration)
        // Not a child of this task: that is cancelled when answers under way are still to be finished.
        let running = Task { try await services.run() }
        let result = await withTaskCancellationHandler {
            await running.result
        } onCancel: {
            Task { await services.triggerGracefulShutdown() }
        }
        try await group.shutdownGracefully()
        try result.get()
    }

    private func router() -> Router<ServerContext> {
        let router = Router(context: ServerContext.self)
        let settings = served.settings
        // Middleware reaches the routes that are added behind it.
        router.add(middleware: ErrorMiddleware(metrics: served.metrics))
        router.add(middleware: HostMiddleware(settings: settings))
        router.add(middleware: OriginMiddleware(settings: settings))
        router.add(middleware: KeyMiddleware(settings: settings))

        router.get("/") { request, _ in
            var headers: HTTPFields = [
                .contentType: "text/html; charset=utf-8", .contentSecurityPolicy: ChatPage.contentSecurityPolicy,
                .eTag: ChatPage.entityTag, .cacheControl: "no-cache",
            ]
            headers[HTTPField.Name("Referrer-Policy")!] = "no-referrer"
            guard request.headers[.ifNoneMatch] != ChatPage.entityTag else {
                return Response(status: .notModified, headers: headers)
            }
            return Response(
                status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: ChatPage.html)))
        }
        router.get("/health") { _, _ in Response(.object(JSONObject([("status", .string("ok"))]))) }
        router.get("/metrics") { [served] _, _ in
            Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: ResponseBody(
                    byteBuffer: ByteBuffer(
                        string: served.metrics.text(
                            served.container.engine.statistics, queued: served.textsInFlight))))
        }
        for path in ["/v1/models", "/models"] {
            router.get(RouterPath(path)) { [served] _, _ in Response(served.models) }
        }
        router.get("/tokenizer_info") { [served] _, _ in Response(served.tokenizerInfo) }
        router.post("/tokenize") { [served] request, _ in
            Response(try served.tokenize(try await readJSON(of: request, settings: settings).object))
        }
        router.post("/detokenize") { [served] request, _ in
            Response(try served.detokenize(try await readJSON(of: request, settings: settings).object))
        }
        router.post("/v1/completions") { [served] request, context in
            let (body, request) = try await readJSON(of: request, settings: settings)
            let completion = try CompletionRequest(
                body, model: served.model, tokenizer: served.tokenizer, settings: settings)
            return try await served.respond(
                to: request, context: context, with: CompletionRun(completion, served: served))
        }
        router.post("/v1/chat/completions") { [served] request, context in
            let (body, request) = try await readJSON(of: request, settings: settings)
            let chat = try ChatCompletionRequest(body, container: served.container, settings: settings)
            return try await served.respond(
                to: request, context: context, with: ChatCompletionRun(chat, served: served))
        }
        return router
    }
}

/// What is known of a request's connection.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

extension TimeAmount {
    init(_ duration: Duration) { self = .nanoseconds(Int64(duration / .nanoseconds(1))) }
}
