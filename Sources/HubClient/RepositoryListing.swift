import Foundation
import JSON
import TensorFiles

/// A file of a repository, as the hub lists it.
public struct RepositoryFile: Hashable, Sendable {
    public let path: String
    public let byteCount: Int
    /// The SHA-1 by which Git knows the file: of "blob", its size, a zero byte and its bytes. Of a large file it is that of the
    /// pointer that stands for it in Git.
    public let gitHash: String
    /// The SHA-256 of a large file (Git LFS, Xet).
    public let contentHash: String?

    /// - Throws: ``HubError/unexpectedAnswer(url:reason:)`` where the values are not a file's.
    init(path: String, byteCount: Int, gitHash: String, contentHash: String?, source: String) throws {
        func refuse(_ reason: String) -> HubError { .unexpectedAnswer(url: source, reason: reason) }
        guard Self.isSafe(path: path) else {
            throw refuse("the path \(String(reflecting: String(path.prefix(200)))) leads out of the repository")
        }
        guard (0...1 << 50).contains(byteCount) else { throw refuse("\(path) has \(byteCount) bytes") }
        guard gitHash.utf8.count == 40, gitHash.utf8.allSatisfy(isLowercaseHexadecimal) else {
            throw refuse("\(path) has no Git hash")
        }
        if let contentHash {
            guard contentHash.utf8.count == 64, contentHash.utf8.allSatisfy(isLowercaseHexadecimal) else {
                throw refuse("\(path) has no SHA-256")
            }
        }
        (self.path, self.byteCount, self.gitHash, self.contentHash) = (path, byteCount, gitHash, contentHash)
    }

    /// The file's name among the cache's blobs: the ETag that the hub gives it.
    var blobName: String { contentHash ?? gitHash }

    /// Whether a path of the hub stays inside the folder that it is put into.
    static func isSafe(path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        return path.utf8.count <= 1024 && parts.count <= 32
            && parts.allSatisfy { part in
                !part.isEmpty && part != "." && part != ".." && part.utf8.count <= 255
                    && !part.unicodeScalars.contains { $0.value < 0x20 || $0 == "\\" || $0.value == 0x7F }
            }
    }
}

/// The files of a repository at one commit.
public struct RepositoryListing: Sendable {
    let commit: Commit
    public let files: [RepositoryFile]

    /// The commit's id.
    public var commitID: String { commit.description }

    /// A listing can be no larger: it is read before anything is known of the repository.
    private static let mostFiles = 100_000

    /// Asks the hub which commit a revision is.
    static func commit(of repository: ModelRepository, over connection: HubConnection) async throws -> Commit {
        if let commit = Commit(repository.revision) { return commit }
        let url = address(
            connection.settings.endpoint,
            "api/models/\(repository.id)/revision/\(quoted(repository.revision, slash: false))")
        let (data, _) = try await connection.document(at: url, for: repository)
        let node = try document(data, url: url)
        guard let text = try? node["sha"].string(), let commit = Commit(text) else {
            throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "\"sha\" is not the id of a commit")
        }
        return commit
    }

    /// Asks the hub for the files of a commit, page by page.
    init(of repository: ModelRepository, at commit: Commit, over connection: HubConnection) async throws {
        var next: URL? = Self.address(
            connection.settings.endpoint, "api/models/\(repository.id)/tree/\(commit)", query: "recursive=true")
        var files: [RepositoryFile] = []
        var seen: Set<URL> = []
        while let url = next {
            guard seen.insert(url).inserted, seen.count <= 1000 else {
                throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "its pages go round in a circle")
            }
            let (data, headers) = try await connection.document(at: url, for: repository)
            let entries: [JSONNode]
            do {
                entries = try Self.document(data, url: url).elements()
                for entry in entries where try entry["type"].string() == "file" {
                    let large = entry["lfs"].nonNull
                    try files.append(
                        RepositoryFile(
                            path: entry["path"].string(), byteCount: (large?["size"] ?? entry["size"]).integer(),
                            gitHash: entry["oid"].string(), contentHash: large?["oid"].string(),
                            source: url.absoluteString))
                }
            } catch let error as JSONNodeError {
                throw HubError.unexpectedAnswer(url: url.absoluteString, reason: error.reason)
            }
            guard files.count <= Self.mostFiles else {
                throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "more than \(Self.mostFiles) files")
            }
            next = try Self.nextPage(headers["Link"], from: url, endpoint: connection.settings.endpoint)
        }
        try self.init(commit: commit, files: files, source: repository.id)
    }

    private init(commit: Commit, files: [RepositoryFile], source: String) throws {
        var paths: Set<String> = []
        var sizes: [String: Int] = [:]
        for file in files {
            guard paths.insert(file.path).inserted else {
                throw HubError.unexpectedAnswer(url: source, reason: "\(file.path) is listed twice")
            }
            guard sizes.updateValue(file.byteCount, forKey: file.blobName) ?? file.byteCount == file.byteCount else {
                throw HubError.unexpectedAnswer(
                    url: source, reason: "\(file.path) has the hash of a file of another size")
            }
        }
        self.commit = commit
        self.files = files.sorted { $0.path < $1.path }
    }

    private static func document(_ data: Data, url: URL) throws -> JSONNode {
        do {
            return try data.withUnsafeBytes {
                try JSONNode(parsing: $0, file: url.absoluteString, duplicateKeys: .lastCounts)
            }
        } catch let error as JSONNodeError {
            throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "not JSON: \(error.reason)")
        }
    }

    /// `Link: <address>; rel="next"` (RFC 8288). The token goes with the request: the address has to be the hub's.
    private static func nextPage(_ links: [String], from url: URL, endpoint: URL) throws -> URL? {
        for link in links {
            guard let match = link.firstMatch(of: /<([^<>]+)>\s*;[^,]*rel="?next"?/) else { continue }
            guard let next = URL(string: String(match.1), relativeTo: url)?.absoluteURL,
                HubConnection.sameOrigin(next, endpoint)
            else {
                throw HubError.unexpectedAnswer(url: url.absoluteString, reason: "its next page is elsewhere")
            }
            return next
        }
        return nil
    }

    // MARK: Addresses

    /// Where a file's bytes are.
    func address(of file: RepositoryFile, in repository: ModelRepository, endpoint: URL) -> URL {
        Self.address(endpoint, "\(repository.id)/resolve/\(commit)/\(Self.quoted(file.path, slash: true))")
    }

    private static func address(_ endpoint: URL, _ path: String, query: String? = nil) -> URL {
        // Made of checked and quoted parts: an address as much as the endpoint is.
        URL(string: "\(endpoint.absoluteString)/\(path)\(query.map { "?\($0)" } ?? "")")!
    }

    /// RFC 3986, section 2.3: unreserved characters as they are.
    private static func quoted(_ text: String, slash: Bool) -> String {
        var allowed = CharacterSet(charactersIn: "-._~")
        allowed.formUnion(CharacterSet(charactersIn: "a"..."z"))
        allowed.formUnion(CharacterSet(charactersIn: "A"..."Z"))
        allowed.formUnion(CharacterSet(charactersIn: "0"..."9"))
        if slash { allowed.insert("/") }
        return text.addingPercentEncoding(withAllowedCharacters: allowed)!
    }

    // MARK: The cached listing

    // `trees/COMMIT.json`, which huggingface_hub reads and writes too: a commit's files never change.

    private static let formatVersion = 1

    /// The listing that a cache keeps; nil where it has none that can be read.
    init?(of commit: Commit, cachedAt url: URL) {
        guard let node = try? JSONNode(contentsOf: url), (try? node["format_version"].integer()) == Self.formatVersion,
            let files = try? node["files"].members().map({ path, file in
                let hash = file["lfs_sha256"].nonNull
                return try RepositoryFile(
                    path: path, byteCount: (hash == nil ? file["size"] : file["lfs_size"]).integer(),
                    gitHash: file["blob_id"].string(), contentHash: hash?.string(), source: url.path)
            })
        else { return nil }
        try? self.init(commit: commit, files: files, source: url.path)
    }

    func cached() -> Data {
        let files = files.map { file in
            var members: [(String, JSONValue)] = [
                ("size", .integer(file.byteCount)), ("blob_id", .string(file.gitHash)),
            ]
            if let hash = file.contentHash {
                members += [("lfs_sha256", .string(hash)), ("lfs_size", .integer(file.byteCount))]
            }
            return (file.path, JSONValue.object(JSONObject(members)))
        }
        let document = JSONObject([
            ("format_version", .integer(Self.formatVersion)), ("files", .object(JSONObject(files))),
        ])
        return Data(JSONValue.object(document).serialized(indentation: 2).utf8)
    }
}
