// OneBitServer: a language model over HTTP, as clients of OpenAI's API speak it, and pages that are watched while they change. May
// import LanguageModel, Tokenization, Jinja, JSON, Crypto, AsyncAlgorithms and Hummingbird; an app that runs models without a server links none of it.

import Foundation
import HTTPTypes
import Hummingbird
import JSON
import LanguageModel
import NIOCore
import Tokenization

/// Serves one model to many clients at once.
///
/// All texts go through the model's generation engine in one batch. The same seed gives the same text, alone, among others, and
/// whatever the engine remembers of prompts.
public struct InferenceServer: Sendable {
    let served: ServedModel

    /// - Parameters:
    ///   - container: the model; its engine's limits are those of the server.
    ///   - settings: where it listens, who may use it, and what a request may ask for.
    ///   - sequences: how many texts the engine generates at a time.
    public init(_ container: ModelContainer, settings: ServerSettings, sequences: Int) {
        served = ServedModel(container, settings: settings, sequences: sequences)
    }

    /// Serves until the task is cancelled, and then until the answers under way are done, or their time is up.
    ///
    /// - Parameter onReady: called with the port, once it listens.
    /// - Throws: ``ListenError``
    public func run(onReady: @escaping @Sendable (_ port: Int) -> Void) async throws {
        let settings = served.settings
        try await serve(
            router(), address: (settings.host, settings.port), headTime: settings.headTime,
            // A route that reads the body answers first, and says why.
            bodyTime: settings.bodyTime * 1.2, drainTime: settings.drainTime, onReady: onReady
        ) { [served] in served.endStreams(in: settings.drainTime * 0.9) }
    }

    func router() -> Router<ServerContext> {
        let router = Router(context: ServerContext.self, options: .autoGenerateHeadEndpoints)
        let settings = served.settings
        // Middleware reaches the routes that are added behind it.
        router.add(middleware: OriginHeadersMiddleware(allowedOrigins: settings.allowedOrigins))
        router.add(middleware: ErrorMiddleware(metrics: served.metrics))
        router.add(middleware: HostMiddleware(isLoopback: settings.isLoopback, allowedHosts: settings.allowedHosts))
        router.add(middleware: OriginMiddleware(settings: settings))
        router.add(middleware: KeyMiddleware(settings: settings))

        router.get("/") { request, _ in
            var headers: HTTPFields = [
                .contentType: "text/html; charset=utf-8", .contentSecurityPolicy: ChatPage.contentSecurityPolicy,
                .eTag: ChatPage.entityTag, .cacheControl: "no-cache",
            ]
            headers[HTTPField.Name("Referrer-Policy")!] = "no-referrer"
            guard !request.has(entityTag: ChatPage.entityTag) else {
                return Response(status: .notModified, headers: headers)
            }
            return Response(
                status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(string: ChatPage.html)))
        }
        router.get("/openapi.json") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "application/json"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: OpenAPI.text)))
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
        // A name may have slashes: ORG/NAME.
        router.get("/v1/models/**") { [served] request, context in
            let name = context.parameters.getCatchAll().joined(separator: "/")
            return Response(try served.model(named: name.removingPercentEncoding ?? name))
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
            return try await served.respond(
                to: request, context: context,
                with: CompletionRun(try CompletionRequest(body, served: served), served: served))
        }
        // Both ways, as with llama-server and mlx_lm.server: users leave the /v1 out of an address.
        for path in ["/v1/chat/completions", "/chat/completions"] {
            router.post(RouterPath(path)) { [served] request, context in
                let (body, request) = try await readJSON(of: request, settings: settings)
                return try await served.respond(
                    to: request, context: context,
                    with: ChatCompletionRun(try ChatCompletionRequest(body, served: served), served: served))
            }
        }
        return router
    }
}
