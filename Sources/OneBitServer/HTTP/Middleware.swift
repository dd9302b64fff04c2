import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOHTTP1

/// Turns whatever goes wrong into an answer of the API's form. The outermost one.
struct ErrorMiddleware: RouterMiddleware {
    let metrics: Metrics

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        let identifier = "req-" + UUID().uuidString.lowercased()
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error as HTTPParserError {
            // The connection says something that is not HTTP: Hummingbird answers and closes it.
            throw error
        } catch {
            var refusal = APIError(error)
            if refusal.status == .notFound, error is HTTPError, let path = OpenAPI.path(of: request.uri.path) {
                refusal = .methodNotAllowed(allowed: OpenAPI.methods[path] ?? "")
            }
            if refusal.status == .internalServerError {
                context.logger.error("\(identifier) \(request.uri.path): \(String(reflecting: type(of: error)))")
            }
            response = refusal.response
            // What is left of a body that was not read would be taken for the next request.
            response.headers[.connection] = "close"
            if request.method == .head { response = response.createHeadResponse() }
        }
        response.headers[HTTPField.Name("X-Request-ID")!] = identifier
        response.headers[.xContentTypeOptions] = "nosniff"
        metrics.count(request.uri.path, status: response.status.code)
        return response
    }
}

/// Lets only those names through by which this server is meant: a page whose name an attacker points at this machine is of
/// another (DNS rebinding; CVE-2024-28224 is an instance).
struct HostMiddleware: RouterMiddleware {
    let isLoopback: Bool
    let allowedHosts: [String]

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        guard isLoopback || !allowedHosts.isEmpty else { return try await next(request, context) }
        guard let authority = request.head.authority, !authority.isEmpty else {
            throw APIError(
                status: .badRequest, message: "The request has to name one host, in its Host header.",
                code: "host_missing")
        }
        let host = Self.name(of: authority)
        guard Self.isLocal(host) || allowedHosts.contains(where: { $0.lowercased() == host }) else {
            throw APIError(
                status: .forbidden, message: "This server does not answer to the name \(host.prefix(100)).",
                code: "host_not_allowed")
        }
        return try await next(request, context)
    }

    /// The host of `host:port`, in lower case, an address of version 6 without its brackets.
    static func name(of authority: String) -> String {
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
            return authority[authority.index(after: authority.startIndex)..<end].lowercased()
        }
        return authority.split(separator: ":", omittingEmptySubsequences: false).first?.lowercased() ?? ""
    }

    private static func isLocal(_ host: String) -> Bool {
        host == "localhost" || host.hasSuffix(".localhost") || host == "::1"
            || host.wholeMatch(of: /127\.\d{1,3}\.\d{1,3}\.\d{1,3}/) != nil
    }
}

/// Lets the pages of listed origins read every answer, refusals too (Fetch, section 3.2). Outside of what turns errors into answers.
struct OriginHeadersMiddleware: RouterMiddleware {
    let allowedOrigins: [String]

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        guard let origin = request.headers[.origin], allowedOrigins.contains(origin) else { return response }
        response.headers[.accessControlAllowOrigin] = origin
        response.headers[.vary] = "Origin"
        return response
    }
}

/// Which pages may use the server: its own, and those of listed origins (Fetch, section 3.2).
struct OriginMiddleware: RouterMiddleware {
    let settings: ServerSettings

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        guard let origin = request.headers[.origin] else { return try await next(request, context) }
        let isListed = settings.allowedOrigins.contains(origin)
        let isOwn = origin.split(separator: "/").last.map { $0.lowercased() } == request.head.authority?.lowercased()
        if request.method == .options, request.headers[.accessControlRequestMethod] != nil {
            guard isListed else { return Response(status: .forbidden) }
            return Response(
                status: .noContent,
                headers: [
                    .accessControlAllowMethods: "GET, POST", .accessControlAllowHeaders: "*, Authorization",
                    .accessControlMaxAge: "600",
                ])
        }
        guard isListed || isOwn || [.get, .head].contains(request.method) else {
            throw APIError(
                status: .forbidden, message: "Pages of \(origin.prefix(100)) may not use this server.",
                code: "origin_not_allowed")
        }
        return try await next(request, context)
    }
}

/// Asks for a key, where there are any. The page itself, `/health` and the API's description need none.
struct KeyMiddleware: RouterMiddleware {
    let settings: ServerSettings

    private static let publicPaths: Set<String> = ["/", "/health", "/openapi.json"]

    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        guard
            settings.keys.isEmpty || Self.publicPaths.contains(request.uri.path) || request.method == .options
                || settings.keyIndex(of: request) != nil
        else { throw APIError.unauthorized }
        return try await next(request, context)
    }
}

extension ServerSettings {
    /// Which of the keys a request brings; nil without one.
    func keyIndex(of request: Request) -> Int? {
        let bearer = request.headers[.authorization].flatMap { header in
            header.lowercased().hasPrefix("bearer ") ? String(header.dropFirst(7)) : nil
        }
        guard let given = bearer ?? request.headers[HTTPField.Name("X-Api-Key")!] else { return nil }
        // All of them, to the end: the time tells nothing of how much was right.
        var found: Int?
        for (index, key) in keys.enumerated() where Self.equal(Array(key.utf8), Array(given.utf8)) { found = index }
        return found
    }

    private static func equal(_ one: [UInt8], _ other: [UInt8]) -> Bool {
        var difference = UInt8(truncatingIfNeeded: one.count ^ other.count) | (one.count == other.count ? 0 : 1)
        for index in 0..<max(one.count, other.count) {
            difference |= (index < one.count ? one[index] : 0) ^ (index < other.count ? other[index] : 1)
        }
        return difference == 0
    }
}

extension Request {
    /// Whether the client has what an entity tag names (RFC 9110, section 13.1.2): compared weakly, for a proxy that compresses
    /// weakens it.
    func has(entityTag: String) -> Bool {
        let tags = headers[values: .ifNoneMatch].flatMap { $0.split(separator: ",") }
            .map { $0.trimmingCharacters(in: .whitespaces) }
        return tags.contains { $0 == "*" || $0 == entityTag || $0 == "W/" + entityTag }
    }
}
