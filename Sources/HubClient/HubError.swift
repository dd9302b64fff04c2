import Foundation

/// Why a model does not come from the hub.
public enum HubError: LocalizedError, Sendable, Equatable {
    /// A name that no repository can have.
    case invalidName(String, reason: String)
    case invalidSetting(variable: String, value: String, expected: String)
    /// 401 or 404: the hub does not tell missing repositories from private ones.
    case repositoryNotFound(repository: String, endpoint: String, hasToken: Bool)
    case revisionNotFound(repository: String, revision: String)
    case fileNotFound(repository: String, file: String)
    /// The authors ask for an agreement, or for an access that was not given.
    case gated(repository: String, endpoint: String, hasToken: Bool)
    /// 401 with a token, or another 403.
    case refused(url: String, reason: String)
    /// 429, and the hub asks to wait for longer than anybody would.
    case rateLimited(url: String, seconds: Int)
    /// The server's fault, after every try.
    case serverFailed(url: String, status: Int, reason: String)
    /// No connection, no name, no answer in time: after every try.
    case unreachable(host: String, reason: String)
    /// An answer that the hub does not give: a captive portal, a firewall, something else at that address.
    case unexpectedAnswer(url: String, reason: String)
    /// A redirect that is not followed.
    case redirectRefused(from: String, to: String, reason: String)
    /// The bytes are not those that the hub lists.
    case hashMismatch(repository: String, file: String, expected: String, found: String)
    /// Connections broke off, with nothing gained, as often as they are tried.
    case interrupted(repository: String, file: String, received: Int, of: Int, reason: String)
    /// Nothing that can be a model.
    case noModel(repository: String, ggufFiles: [String])
    case nothingSelected(repository: String, patterns: [String])
    /// Offline, and the cache lacks it.
    case notCached(repository: String, cache: String, missing: [String])

    public var errorDescription: String? {
        switch self {
        case .invalidName(let name, let reason): "\(name) cannot be the name of a model on the hub: \(reason)."
        case .invalidSetting(let variable, let value, let expected):
            "\(variable): expected \(expected), found \(value)."
        case .repositoryNotFound(let repository, let endpoint, _):
            "\(repository): there is no such model on \(endpoint), or it is private."
        case .revisionNotFound(let repository, let revision): "\(repository): there is no revision \(revision)."
        case .fileNotFound(let repository, let file): "\(repository): there is no file \(file)."
        case .gated(let repository, _, _):
            "\(repository): its authors ask for an agreement before it can be downloaded."
        case .refused(let url, let reason): "\(url): access refused: \(reason)."
        case .rateLimited(let url, let seconds): "\(url): too many requests; the hub asks to wait for \(seconds) s."
        case .serverFailed(let url, let status, let reason):
            "\(url): the server failed with status \(status): \(reason)."
        case .unreachable(let host, let reason): "\(host) cannot be reached: \(reason)."
        case .unexpectedAnswer(let url, let reason): "\(url): not an answer of the hub: \(reason)."
        case .redirectRefused(let from, let to, let reason):
            "\(from): redirected to \(to), which is not followed: \(reason)."
        case .hashMismatch(let repository, let file, let expected, let found):
            "\(repository): \(file): its bytes have the hash \(found), expected \(expected)."
        case .interrupted(let repository, let file, let received, let size, let reason):
            "\(repository): \(file): the connection broke off after \(received) of \(size) bytes: \(reason)."
        case .noModel(let repository, let files) where files.isEmpty:
            "\(repository): no model: expected config.json and weights in model.safetensors or pytorch_model.bin."
        case .noModel(let repository, let files):
            "\(repository) has GGUF files alone: \(HubError.list(files))."
        case .nothingSelected(let repository, let patterns):
            "\(repository): no file is selected by \(patterns.joined(separator: ", "))."
        case .notCached(let repository, let cache, let missing):
            "\(repository) is not in \(cache), and the hub is not asked in offline mode"
                + (missing.isEmpty ? "." : ": it lacks \(HubError.list(missing)).")
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .repositoryNotFound(_, _, hasToken: false):
            "Check the name; of a private model, put an access token into HF_TOKEN."
        case .repositoryNotFound: "Check the name, and that the token may read it."
        case .gated(let repository, let endpoint, let hasToken):
            "Accept it at \(endpoint)/\(repository)"
                + (hasToken ? ", with the account that the token is of." : ", and put an access token into HF_TOKEN.")
        case .refused: "Check the token in HF_TOKEN, or unset it: public models need none."
        case .rateLimited: "Wait, or put an access token into HF_TOKEN: the limits are wider then."
        case .serverFailed: "Try again later: what was downloaded is kept."
        case .unreachable:
            "Check the connection (HTTPS_PROXY and HF_ENDPOINT are honored); what was downloaded is kept. "
                + "With HF_HUB_OFFLINE=1 only the cache is used."
        case .unexpectedAnswer: "Check HF_ENDPOINT, and whether a proxy or a log-in page answers in the hub's place."
        case .hashMismatch: "Nothing of it is kept. Try again; if it stays so, tell the model's authors."
        case .interrupted: "Try again: what was downloaded is kept."
        case .noModel(let repository, let files): files.first.map { "Name one of them: \(repository)/\($0)" }
        case .notCached: "Unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE to download it."
        case .invalidName, .invalidSetting, .revisionNotFound, .fileNotFound, .redirectRefused, .nothingSelected: nil
        }
    }

    /// Whether the hub could not be asked, so that what the cache has may do.
    var isUnavailability: Bool {
        switch self {
        case .unreachable, .serverFailed, .rateLimited: true
        default: false
        }
    }

    private static func list(_ names: [String]) -> String {
        names.prefix(5).joined(separator: ", ") + (names.count > 5 ? " and \(names.count - 5) more" : "")
    }
}
