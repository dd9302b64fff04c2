import Crypto
import Foundation
import Synchronization

/// The Hugging Face hub as far as downloads go, of one repository on loopback: revision, listing by pages, files, large ones
/// behind a redirect to another host (another port) with a signed address.
package final class MockHub: Sendable {
    package static let commit = "0123456789abcdef0123456789abcdef01234567"

    package typealias Override = @Sendable (MockServer.Request) -> MockServer.Answer?

    private struct Behavior {
        /// Asked in turn before the hub answers.
        var overrides: [Override] = []
        var pageSize = 1000
        var token: String?
    }

    /// What both servers look at.
    private final class Repository: Sendable {
        let id: String
        let files: [String: Data]
        let largeSize: Int
        let behavior = Mutex(Behavior())

        init(id: String, files: [String: Data], largeSize: Int) {
            (self.id, self.files, self.largeSize) = (id, files, largeSize)
        }

        func override(_ request: MockServer.Request) -> MockServer.Answer? {
            for override in behavior.withLock({ $0.overrides }) {
                if let answer = override(request) { return answer }
            }
            return nil
        }
    }

    private let repository: Repository
    private let hub: MockServer
    private let storage: MockServer

    package var endpoint: URL { hub.url }
    /// What the hub was asked for.
    package var requests: [MockServer.Request] { hub.requests }
    /// What the storage behind the redirects was asked for.
    package var storageRequests: [MockServer.Request] { storage.requests }

    /// - Parameters:
    ///   - files: contents by path.
    ///   - largeSize: bytes from which on a file is in the storage.
    package init(_ id: String = "org/name", files: [String: Data], largeSize: Int = 1000) throws {
        let repository = Repository(id: id, files: files, largeSize: largeSize)
        let storage = try MockServer { request in
            if let answer = repository.override(request) { return answer }
            let path = request.target.split(separator: "?")[0].dropFirst().removingPercentEncoding ?? ""
            return repository.files[path].map { Self.bytes($0, for: request) } ?? .init(403)
        }
        hub = try MockServer { [storageURL = storage.url] request in
            repository.override(request) ?? Self.answer(request, repository: repository, storage: storageURL)
        }
        (self.repository, self.storage) = (repository, storage)
    }

    /// Lets a test answer before the hub and its storage do; nil leaves it to them.
    package func override(_ override: @escaping Override) {
        repository.behavior.withLock { $0.overrides.append(override) }
    }

    package func contents(_ path: String) -> Data? { repository.files[path] }

    package func removeOverrides() { repository.behavior.withLock { $0.overrides = [] } }

    package func listPages(of size: Int) { repository.behavior.withLock { $0.pageSize = size } }

    package func require(token: String) { repository.behavior.withLock { $0.token = token } }

    private static func answer(
        _ request: MockServer.Request, repository: Repository, storage: URL
    ) -> MockServer.Answer {
        let behavior = repository.behavior.withLock { (token: $0.token, pageSize: $0.pageSize) }
        if let token = behavior.token, request.headers["authorization"] != "Bearer \(token)" {
            return .init(401, headers: [("X-Error-Code", "RepoNotFound"), ("X-Error-Message", "Repository not found")])
        }
        let halves = request.target.split(separator: "?", maxSplits: 1).map(String.init)
        let api = "/api/models/\(repository.id)"
        let file = "/\(repository.id)/resolve/\(commit)/"
        switch halves[0] {
        case "\(api)/revision/main", "\(api)/revision/refs%2Fpr%2F1":
            return .init(body: Data(#"{"id": "\#(repository.id)", "sha": "\#(commit)", "private": false}"#.utf8))
        case "\(api)/tree/\(commit)":
            return listing(
                halves.count > 1 ? halves[1] : "", target: halves[0], repository, pageSize: behavior.pageSize)
        case let path where path.hasPrefix(file):
            let name = path.dropFirst(file.count).removingPercentEncoding ?? ""
            guard let data = repository.files[name] else {
                return .init(404, headers: [("X-Error-Code", "EntryNotFound")])
            }
            guard data.count >= repository.largeSize else { return bytes(data, for: request) }
            return .init(
                302,
                headers: [
                    ("Location", "\(storage)/\(path.dropFirst(file.count))?signature=abc"), ("X-Repo-Commit", commit),
                    ("X-Linked-Size", "\(data.count)"), ("X-Linked-Etag", "\"\(sha256(data))\""),
                ])
        case let path where path.hasPrefix(api): return .init(404, headers: [("X-Error-Code", "RevisionNotFound")])
        default: return .init(404, headers: [("X-Error-Code", "RepoNotFound")])
        }
    }

    private static func listing(
        _ query: String, target: String, _ repository: Repository, pageSize: Int
    ) -> MockServer.Answer {
        let start = query.firstMatch(of: /cursor=(\d+)/).flatMap { Int($0.1) } ?? 0
        let paths = repository.files.keys.sorted().dropFirst(start)
        let entries = paths.prefix(pageSize).map { path in
            let data = repository.files[path]!
            let size = data.count
            guard size >= repository.largeSize else {
                return #"{"type": "file", "path": "\#(path)", "size": \#(size), "oid": "\#(gitHash(data))"}"#
            }
            return
                #"{"type": "file", "path": "\#(path)", "size": \#(size), "oid": "\#(gitHash(Data("pointer".utf8)))", "#
                + #""lfs": {"oid": "\#(sha256(data))", "size": \#(size), "pointerSize": 134}, "xetHash": "abc"}"#
        }
        let folders = start == 0 ? [#"{"type": "directory", "path": "folder", "size": 0, "oid": "\#(commit)"}"#] : []
        var answer = MockServer.Answer(body: Data("[\((folders + entries).joined(separator: ", "))]".utf8))
        if paths.count > pageSize {
            answer.headers.append(
                ("Link", "<\(target)?recursive=true&cursor=\(start + pageSize)>; rel=\"next\""))
        }
        return answer
    }

    /// A file, or the part of it that is asked for.
    package static func bytes(_ data: Data, for request: MockServer.Request) -> MockServer.Answer {
        guard let range = request.headers["range"]?.wholeMatch(of: /bytes=(\d+)-/), let first = Int(range.1) else {
            return .init(body: data)
        }
        guard first < data.count else { return .init(416, headers: [("Content-Range", "bytes */\(data.count)")]) }
        return .init(
            206, headers: [("Content-Range", "bytes \(first)-\(data.count - 1)/\(data.count)")],
            body: data.dropFirst(first))
    }

    // MARK: Hashes

    package static func sha256(_ data: Data) -> String { hexadecimal(SHA256.hash(data: data)) }

    package static func gitHash(_ data: Data) -> String {
        hexadecimal(Insecure.SHA1.hash(data: Data("blob \(data.count)\0".utf8) + data))
    }

    private static func hexadecimal(_ digest: some Sequence<UInt8>) -> String {
        digest.map { String(format: "%02x", $0) }.joined()
    }
}
