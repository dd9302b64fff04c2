import AsyncHTTPClient
import Foundation
import JSON
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Requests to the hub: redirects followed by hand, the token shown to the hub alone, faults tried again.
struct HubConnection: Sendable {
    /// An answer's head and its body, still to be read.
    struct Answer {
        let url: URL
        let status: Int
        let headers: HTTPHeaders
        let body: HTTPClientResponse.Body
    }

    private static let mostRedirects = 5
    static let mostTries = 5
    /// A page of a listing has at most 1,000 entries of some 300 bytes.
    private static let largestDocument = 16 << 20

    let settings: HubSettings
    /// How often something is tried with nothing gained.
    var tries = mostTries
    private let clients: [HubProxies.Proxy?: HTTPClient]
    private let report: @Sendable (HubEvent) -> Void
    /// How a try waits for the next. Tests do not.
    private let pause: @Sendable (Duration) async throws -> Void

    /// Runs an operation with connections that are closed behind it.
    static func open<Result: Sendable>(
        _ settings: HubSettings, pause: @escaping @Sendable (Duration) async throws -> Void,
        report: @escaping @Sendable (HubEvent) -> Void,
        _ operation: (HubConnection) async throws -> Result
    ) async throws -> Result {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let certificates = settings.certificates {
            guard FileManager.default.isReadableFile(atPath: certificates.path) else {
                throw HubError.invalidSetting(
                    variable: "SSL_CERT_FILE", value: certificates.path, expected: "a file of certificates (PEM)")
            }
            tls.trustRoots = .file(certificates.path)
        }
        var clients: [HubProxies.Proxy?: HTTPClient] = [:]
        for proxy in Set([nil] + settings.proxies.all.map(Optional.some)) {
            var configuration = HTTPClient.Configuration(
                tlsConfiguration: tls, redirectConfiguration: .disallow,
                timeout: .init(connect: .seconds(10), read: TimeAmount(settings.downloadTimeout)),
                proxy: proxy.map(HTTPClient.Configuration.Proxy.init))
            // Tries are counted and told of here.
            configuration.connectionPool.retryConnectionEstablishment = false
            // A connection for each file, and not all files on one.
            configuration.httpVersion = .http1Only
            clients[proxy] = HTTPClient(
                eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
        }
        let connection = HubConnection(settings: settings, clients: clients, report: report, pause: pause)
        do {
            let result = try await operation(connection)
            for client in clients.values { try await client.shutdown() }
            return result
        } catch {
            for client in clients.values { try? await client.shutdown() }
            throw error
        }
    }

    // MARK: Requests

    /// A document of the API.
    ///
    /// - Returns: its bytes, its address and its headers.
    func document(at url: URL, for repository: ModelRepository) async throws -> (data: Data, headers: HTTPHeaders) {
        try await retrying(url) {
            let answer = try await answer(to: url, headers: [], silence: settings.metadataTimeout, for: repository)
            do {
                let buffer = try await answer.body.collect(upTo: Self.largestDocument)
                return (Data(buffer.readableBytesView), answer.headers)
            } catch is NIOTooManyBytesError {
                throw HubError.unexpectedAnswer(
                    url: url.absoluteString, reason: "more than \(Self.largestDocument) bytes")
            }
        }
    }

    /// One try at a request, redirects included.
    ///
    /// - Parameter silence: how long the server may take to begin.
    /// - Throws: ``HubError`` for every status but 200, 206 and 416.
    func answer(
        to url: URL, headers: [(String, String)], silence: Duration, for repository: ModelRepository
    ) async throws -> Answer {
        var url = url
        for _ in 0...Self.mostRedirects {
            var request = HTTPClientRequest(url: url.absoluteString)
            request.headers.add(name: "User-Agent", value: settings.userAgent)
            // Hashes and ranges are of the bytes themselves.
            request.headers.add(name: "Accept-Encoding", value: "identity")
            for (name, value) in headers { request.headers.add(name: name, value: value) }
            if let token = settings.token, Self.sameOrigin(url, settings.endpoint) {
                request.headers.add(name: "Authorization", value: "Bearer \(token)")
            }
            let client = clients[settings.proxies.proxy(for: url)] ?? clients[nil]!
            let response = try await client.execute(request, timeout: TimeAmount(silence))
            let status = Int(response.status.code)
            switch status {
            case 200, 206, 416:
                let encoding = response.headers.first(name: "Content-Encoding")?.lowercased() ?? "identity"
                guard encoding == "identity" else {
                    throw HubError.unexpectedAnswer(
                        url: url.absoluteString, reason: "its encoding is \(encoding.prefix(40)), asked was for none")
                }
                return Answer(url: url, status: status, headers: response.headers, body: response.body)
            case 301, 302, 303, 307, 308:
                url = try Self.target(of: response, from: url)
            default:
                throw try await failure(response, at: url, for: repository)
            }
        }
        throw HubError.unexpectedAnswer(
            url: url.absoluteString, reason: "more than \(Self.mostRedirects) redirects")
    }

    private static func target(of response: HTTPClientResponse, from url: URL) throws -> URL {
        let location = response.headers.first(name: "Location") ?? ""
        func refuse(_ reason: String) -> HubError {
            .redirectRefused(from: url.absoluteString, to: "\"\(location.prefix(200))\"", reason: reason)
        }
        guard let target = URL(string: location, relativeTo: url)?.absoluteURL, let host = target.host, !host.isEmpty
        else { throw refuse("it is no address") }
        guard target.user == nil, target.password == nil else { throw refuse("it has a user name") }
        switch (url.scheme?.lowercased(), target.scheme?.lowercased()) {
        case (_, "https"), ("http", "http"): return target
        case ("https", "http"): throw refuse("it is not encrypted, and the address was")
        default: throw refuse("it is neither https nor http")
        }
    }

    static func sameOrigin(_ one: URL, _ other: URL) -> Bool {
        func port(_ url: URL) -> Int? { url.port ?? (url.scheme?.lowercased() == "https" ? 443 : 80) }
        return one.scheme?.lowercased() == other.scheme?.lowercased()
            && one.host?.lowercased() == other.host?.lowercased()
            && port(one) == port(other)
    }

    // MARK: Faults

    /// What a status means (huggingface_hub's `hf_raise_for_status`).
    private func failure(
        _ response: HTTPClientResponse, at url: URL, for repository: ModelRepository
    ) async throws -> any Error {
        let status = Int(response.status.code)
        let endpoint = settings.endpoint.absoluteString
        let hasToken = settings.token != nil
        // The hub's own words are in a header: the body need not be read.
        let message = response.headers.first(name: "X-Error-Message").map { Self.printable($0) }
        switch (status, response.headers.first(name: "X-Error-Code")) {
        case (_, "RevisionNotFound"):
            return HubError.revisionNotFound(repository: repository.id, revision: repository.revision)
        case (_, "EntryNotFound"):
            return HubError.fileNotFound(repository: repository.id, file: url.lastPathComponent)
        case (_, "GatedRepo"):
            return HubError.gated(repository: repository.id, endpoint: endpoint, hasToken: hasToken)
        // Without a token, missing and private repositories look alike.
        case (401, "RepoNotFound"), (404, _),
            (401, nil) where !hasToken:
            return HubError.repositoryNotFound(repository: repository.id, endpoint: endpoint, hasToken: hasToken)
        case (401, _), (403, _):
            return HubError.refused(url: url.absoluteString, reason: message ?? "status \(status)")
        case (429, _):
            return Fault.rateLimit(seconds: Self.secondsToWait(response.headers), url: url.absoluteString)
        case (408, _), (500..., _):
            return Fault.server(
                status: status, url: url.absoluteString, reason: message ?? response.status.reasonPhrase)
        default:
            return HubError.unexpectedAnswer(url: url.absoluteString, reason: message ?? "status \(status)")
        }
    }

    /// `RateLimit: "resolvers";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers), else `Retry-After` in seconds.
    static func secondsToWait(_ headers: HTTPHeaders) -> Int? {
        let reset = headers["RateLimit"].lazy.compactMap { $0.firstMatch(of: /(?:^|;)\s*t=(\d{1,9})\s*(?:;|$)/) }
            .first.flatMap { Int($0.1) }
        return (reset ?? headers.first(name: "Retry-After").flatMap { Int($0) }).map { max(0, min($0, 1 << 30)) + 1 }
    }

    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.prefix(300).filter { $0.properties.generalCategory != .control }))
    }

    /// What another try may mend.
    enum Fault: Error {
        case rateLimit(seconds: Int?, url: String)
        case server(status: Int, url: String, reason: String)
        case connection(host: String, reason: String)
        /// The body broke off, with something gained since the last fault or not.
        case body(reason: String, gained: Bool)

        var reason: String {
            switch self {
            case .rateLimit: "too many requests"
            case .server(let status, _, let reason): "status \(status) \(reason)"
            case .connection(_, let reason), .body(let reason, _): reason
            }
        }
    }

    /// Tries again after what another try may mend, ``tries`` times with nothing gained, with growing pauses.
    ///
    /// - Parameter exhausted: the error for a body that broke off too often.
    func retrying<Result>(
        _ url: URL, exhausted: ((_ reason: String) -> HubError)? = nil, _ operation: () async throws -> Result
    ) async throws -> Result {
        var failures = 0
        while true {
            let fault: Fault
            do {
                return try await operation()
            } catch {
                try Task.checkCancellation()
                fault = try Self.fault(error, at: url)
            }
            if case .body(_, gained: true) = fault { failures = 0 }
            failures += 1
            var wait = Duration.seconds(1 << (failures - 1))
            if case .rateLimit(let seconds?, let url) = fault {
                // The hub counts in windows of five minutes.
                guard seconds <= 330 else { throw HubError.rateLimited(url: url, seconds: seconds) }
                wait = .seconds(seconds)
            }
            guard failures < tries else {
                switch fault {
                case .rateLimit(let seconds, let url): throw HubError.rateLimited(url: url, seconds: seconds ?? 300)
                case .server(let status, let url, let reason):
                    throw HubError.serverFailed(url: url, status: status, reason: reason)
                case .connection(let host, let reason): throw HubError.unreachable(host: host, reason: reason)
                case .body(let reason, _):
                    throw exhausted?(reason) ?? HubError.unreachable(host: url.host ?? "", reason: reason)
                }
            }
            report(.waiting(wait, reason: "\(url.host ?? ""): \(fault.reason)"))
            try await pause(wait)
        }
    }

    /// - Throws: the error itself where no other try would help.
    private static func fault(_ error: any Error, at url: URL) throws -> Fault {
        let host = url.host ?? ""
        switch error {
        case let fault as Fault: return fault
        case is HubError, is FileError, is CancellationError: throw error
        case let error as HTTPClientError:
            switch error {
            case .invalidURL, .emptyHost, .emptyScheme:
                throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "not an address")
            case .proxyAuthenticationRequired, .invalidProxyResponse:
                throw HubError.unreachable(host: host, reason: "the proxy refuses: \(error.shortDescription)")
            case .connectTimeout, .readTimeout, .deadlineExceeded, .tlsHandshakeTimeout, .httpProxyHandshakeTimeout:
                return .connection(host: host, reason: "no answer in time")
            case .remoteConnectionClosed, .uncleanShutdown:
                return .connection(host: host, reason: "the connection was closed")
            default: return .connection(host: host, reason: error.shortDescription)
            }
        case HTTPParserError.invalidEOFState: return .connection(host: host, reason: "the connection was closed")
        case let error as HTTPParserError:
            throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "not HTTP (\(error))")
        case let error as NIOConnectionError:
            guard let reason = error.connectionErrors.first?.error as? IOError else {
                return .connection(host: host, reason: "cannot resolve its name")
            }
            return .connection(host: host, reason: String(cString: strerror(reason.errnoCode)))
        case let error as IOError: return .connection(host: host, reason: String(cString: strerror(error.errnoCode)))
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            throw HubError.unreachable(
                host: host,
                reason: "TLS failed (\(error)); a system without certificates needs the package ca-certificates, and a "
                    + "certificate of one's own the variable SSL_CERT_FILE")
        default: return .connection(host: host, reason: "\(error)")
        }
    }

    /// What became of reading a body.
    static func bodyFault(_ error: any Error, at url: URL, gained: Bool) throws -> Fault {
        switch try fault(error, at: url) {
        case .connection(_, let reason): .body(reason: reason, gained: gained)
        case let fault: fault
        }
    }
}

extension HubProxies {
    var all: [Proxy] { Array(Set(byScheme.values)) }
}

extension HTTPClient.Configuration.Proxy {
    init(_ proxy: HubProxies.Proxy) {
        if proxy.isSOCKS {
            self = .socksServer(host: proxy.host, port: proxy.port)
        } else if let user = proxy.user {
            self = .server(
                host: proxy.host, port: proxy.port,
                authorization: .basic(username: user, password: proxy.password ?? ""))
        } else {
            self = .server(host: proxy.host, port: proxy.port)
        }
    }
}

extension TimeAmount {
    init(_ duration: Duration) {
        self = .nanoseconds(Int64(duration / .nanoseconds(1)))
    }
}
