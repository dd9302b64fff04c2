import Foundation

/// Where the hub is, where its files are kept, and who asks: what huggingface_hub takes from the environment too.
///
/// | variable | meaning |
/// |---|---|
/// | `HF_ENDPOINT` | the hub; https://huggingface.co unless set |
/// | `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME` | the cache, by the first that is set |
/// | `HF_TOKEN`, `HUGGING_FACE_HUB_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`/token | the access token |
/// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | send no token |
/// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | ask nobody; use what the cache has |
/// | `HF_HUB_ETAG_TIMEOUT`, `HF_HUB_DOWNLOAD_TIMEOUT` | seconds of silence: of the API, of a file |
/// | `HF_HUB_DISABLE_SYMLINKS` | copy files into snapshots |
/// | `HF_HUB_USER_AGENT_ORIGIN` | added to the user agent |
/// | `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | in capitals or not |
/// | `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE` | certificates to trust |
public struct HubSettings: Sendable {
    public var endpoint: URL
    /// The folder that holds `models--ORG--NAME`.
    public var cache: URL
    public var token: String?
    public var isOffline = false
    /// How long the API may be silent.
    public var metadataTimeout: Duration = .seconds(10)
    /// How long a file's server may be silent.
    public var downloadTimeout: Duration = .seconds(10)
    /// Files downloaded at a time.
    public var connections = 4
    public var copiesFiles = false
    public var userAgent = "onebit"
    var proxies = HubProxies(environment: [:])
    public var certificates: URL?

    public static let defaultEndpoint = URL(string: "https://huggingface.co")!

    public init(endpoint: URL = defaultEndpoint, cache: URL, token: String? = nil) {
        (self.endpoint, self.cache, self.token) = (endpoint, cache, token)
    }

    /// - Parameters:
    ///   - environment: the process's.
    ///   - version: of the program, for the user agent.
    /// - Throws: ``HubError/invalidSetting(variable:value:expected:)``.
    public init(
        environment: [String: String] = ProcessInfo.processInfo.environment, version: String? = nil
    ) throws {
        let variables = EnvironmentVariables(environment)
        let home =
            variables.path("HF_HOME") ?? (variables.path("XDG_CACHE_HOME") ?? variables.expanded("~/.cache"))
            + "/huggingface"
        let cache = variables.path("HF_HUB_CACHE") ?? variables.path("HUGGINGFACE_HUB_CACHE") ?? home + "/hub"
        let endpoint = try variables.value("HF_ENDPOINT").map { text in
            guard let url = URL(string: text), ["http", "https"].contains(url.scheme?.lowercased()),
                url.host?.isEmpty == false, url.user == nil, url.query == nil
            else {
                throw HubError.invalidSetting(
                    variable: "HF_ENDPOINT", value: text, expected: "an address such as https://huggingface.co")
            }
            return URL(string: text.hasSuffix("/") ? String(text.dropLast()) : text) ?? url
        }
        self.init(endpoint: endpoint ?? Self.defaultEndpoint, cache: URL(filePath: cache, directoryHint: .isDirectory))
        if !variables.isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            token = try Self.token(variables, file: variables.path("HF_TOKEN_PATH") ?? home + "/token")
        }
        isOffline = variables.isTrue(
            variables.value("HF_HUB_OFFLINE") == nil ? "TRANSFORMERS_OFFLINE" : "HF_HUB_OFFLINE")
        metadataTimeout = try variables.seconds("HF_HUB_ETAG_TIMEOUT") ?? metadataTimeout
        downloadTimeout = try variables.seconds("HF_HUB_DOWNLOAD_TIMEOUT") ?? downloadTimeout
        copiesFiles = variables.isTrue("HF_HUB_DISABLE_SYMLINKS")
        userAgent = (["onebit" + (version.map { "/\($0)" } ?? "")] + [variables.value("HF_HUB_USER_AGENT_ORIGIN")])
            .compactMap(\.self).joined(separator: "; ")
        userAgent.unicodeScalars.removeAll { !(0x20..<0x7F).contains($0.value) }
        certificates = (variables.path("SSL_CERT_FILE") ?? variables.path("REQUESTS_CA_BUNDLE")).map {
            URL(filePath: $0)
        }
        proxies = HubProxies(environment: environment)
    }

    private static func token(_ variables: EnvironmentVariables, file: String) throws -> String? {
        let name = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].first { variables.value($0) != nil }
        let text = name.flatMap(variables.value) ?? (try? String(contentsOfFile: file, encoding: .utf8))
        guard let token = text?.trimmingCharacters(in: .whitespacesAndNewlines), !token.isEmpty else { return nil }
        // It becomes part of a header (RFC 6750, section 2.1).
        guard token.unicodeScalars.allSatisfy({ (0x21..<0x7F).contains($0.value) }), token.utf8.count <= 4096 else {
            throw HubError.invalidSetting(
                variable: name ?? file, value: "a text that is not shown", expected: "a token such as hf_… on one line")
        }
        return token
    }
}

/// Environment variables as huggingface_hub reads them: empty ones are not set.
private struct EnvironmentVariables {
    private let environment: [String: String]

    init(_ environment: [String: String]) { self.environment = environment }

    func value(_ name: String) -> String? {
        environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    func isTrue(_ name: String) -> Bool {
        ["1", "ON", "YES", "TRUE"].contains(environment[name]?.uppercased())
    }

    func path(_ name: String) -> String? { value(name).map(expanded) }

    /// A path with `~` and `$NAME` or `${NAME}` replaced.
    func expanded(_ path: String) -> String {
        var path = path
        if path == "~" || path.hasPrefix("~/") {
            path = (value("HOME") ?? NSHomeDirectory()) + path.dropFirst()
        }
        return path.replacing(/\$(?:\{(\w+)\}|(\w+))/) { match in
            environment[String(match.1 ?? match.2 ?? "")] ?? String(match.0)
        }
    }

    func seconds(_ name: String) throws -> Duration? {
        guard let text = value(name) else { return nil }
        guard let seconds = Int(text), (0...86_400).contains(seconds) else {
            throw HubError.invalidSetting(variable: name, value: text, expected: "whole seconds, at most 86400")
        }
        return seconds == 0 ? nil : .seconds(seconds)
    }
}

/// Which proxy leads to a host: the convention of curl, `HTTPS_PROXY` and its siblings.
struct HubProxies: Sendable, Equatable {
    struct Proxy: Sendable, Hashable {
        let host: String
        let port: Int
        let isSOCKS: Bool
        let user: String?
        let password: String?
    }

    let byScheme: [String: Proxy]
    private let exceptions: [String]

    init(environment: [String: String]) {
        func value(_ name: String) -> String? {
            [name, name.uppercased()].compactMap { environment[$0] }.first { !$0.isEmpty }
        }
        byScheme = ["http", "https"].reduce(into: [:]) { proxies, scheme in
            // HTTP_PROXY in capitals could come from a request header in a CGI program; this is none.
            proxies[scheme] = (value("\(scheme)_proxy") ?? value("all_proxy")).flatMap(Proxy.init)
        }
        exceptions = (value("no_proxy") ?? "").split(separator: ",").map {
            $0.trimmingCharacters(in: .whitespaces).lowercased()
        }.filter { !$0.isEmpty }
    }

    func proxy(for url: URL) -> Proxy? {
        guard let host = url.host?.lowercased(), let scheme = url.scheme?.lowercased() else { return nil }
        let isException = exceptions.contains { exception in
            let name = exception.hasPrefix(".") ? String(exception.dropFirst()) : exception
            return name == "*" || host == name || host.hasSuffix("." + name)
        }
        return isException ? nil : byScheme[scheme]
    }
}

extension HubProxies.Proxy {
    /// - Parameter text: `http://user:password@host:port`, or without its scheme.
    fileprivate init?(_ text: String) {
        guard let url = URL(string: text.contains("://") ? text : "http://\(text)"), let host = url.host, !host.isEmpty
        else { return nil }
        let scheme = url.scheme?.lowercased() ?? "http"
        guard scheme == "http" || scheme.hasPrefix("socks") else { return nil }
        isSOCKS = scheme != "http"
        (self.host, port) = (host, url.port ?? (isSOCKS ? 1080 : 80))
        (user, password) = (url.user?.removingPercentEncoding, url.password?.removingPercentEncoding)
    }
}
