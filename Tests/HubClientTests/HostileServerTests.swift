import Foundation
import MockHub
import TestSupport
import Testing

@testable import HubClient

/// A server that lies in every field: each lie costs an error of this library, no file outside the cache, and nothing that counts
/// as downloaded.
@Suite struct HostileServerTests {
    private static let files = [
        "config.json": Data("{}".utf8), "model.safetensors": Data(repeating: 3, count: 4000),
    ]

    private func attempt(_ directory: TemporaryDirectory, _ override: @escaping MockHub.Override) async throws
        -> any Error
    {
        let hub = try MockHub(files: Self.files)
        hub.override(override)
        var settings = HubSettings(endpoint: hub.endpoint, cache: directory.file("cache/hub"), token: "hf_secret")
        settings.metadataTimeout = .milliseconds(500)
        settings.downloadTimeout = .milliseconds(500)
        let client = HubClient(settings: settings) { _ in try Task.checkCancellation() }
        do {
            _ = try await client.snapshot(of: ModelRepository(id: "org/name"))
        } catch {
            return error
        }
        throw Unexpected.success
    }

    private enum Unexpected: Error { case success }

    /// An override for targets that hold `part`.
    private static func at(_ part: String, _ answer: MockServer.Answer) -> MockHub.Override {
        { $0.target.contains(part) ? answer : nil }
    }

    private static func listing(_ entries: String) -> MockHub.Override {
        at("/tree/", .init(body: Data("[\(entries)]".utf8)))
    }

    private static func entry(
        path: String = #""config.json""#, size: String = "2", oid: String = "\"\(MockHub.gitHash(Data("{}".utf8)))\"",
        more: String = ""
    ) -> String {
        #"{"type": "file", "path": \#(path), "size": \#(size), "oid": \#(oid)\#(more)}"#
    }

    private static let lies: [(name: String, override: MockHub.Override)] =
        [
            ("no HTTP", at("/revision/", .raw("SSH-2.0-OpenSSH_9.6\r\n"))),
            ("nothing", at("/revision/", .raw(""))),
            ("half a head", at("/revision/", .raw("HTTP/1.1 200 OK\r\nContent-Le"))),
            ("a log-in page", at("/revision/", .init(body: Data("<html>Log in</html>".utf8)))),
            ("no commit", at("/revision/", .init(body: Data(#"{"id": "org/name"}"#.utf8)))),
            ("a path for a commit", at("/revision/", .init(body: Data(#"{"sha": "../../../../etc/passwd"}"#.utf8)))),
            (
                "a commit in capitals",
                at("/revision/", .init(body: Data(#"{"sha": "\#(String(repeating: "A", count: 40))"}"#.utf8)))
            ),
            ("not UTF-8", at("/revision/", .init(body: Data([0x7B, 0xFF, 0xFE])))),
            ("brackets without end", at("/tree/", .init(body: Data(repeating: UInt8(ascii: "["), count: 1 << 20)))),
            ("an endless document", at("/tree/", .init(body: Data(repeating: UInt8(ascii: " "), count: 17 << 20)))),
            ("an object for a list", at("/tree/", .init(body: Data("{}".utf8)))),
            ("a length that is none", at("/tree/", .raw("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n[]"))),
            ("two lengths", at("/tree/", .raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]"))),
            (
                "a length and chunks",
                at("/tree/", .raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nzz"))
            ),
            (
                "chunks of no size",
                at("/tree/", .raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"))
            ),
            (
                "a head without end",
                at("/tree/", .raw("HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 1 << 20)))
            ),
            (
                "headers without end",
                at("/tree/", .raw("HTTP/1.1 200 OK\r\n" + String(repeating: "X: y\r\n", count: 100_000)))
            ),
            ("status 999", at("/tree/", .raw("HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"))),
            (
                "status 100 for ever",
                at("/tree/", .raw(String(repeating: "HTTP/1.1 100 Continue\r\n\r\n", count: 1000)))
            ),
            (
                "status 101",
                at("/tree/", .raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))
            ),
            ("status 204", at("/tree/", .raw("HTTP/1.1 204 No Content\r\n\r\n"))),
            ("a path upwards", listing(entry(path: #""../../../../evil""#))),
            ("an absolute path", listing(entry(path: #""/tmp/evil""#))),
            ("a path with a hole", listing(entry(path: #""a//b""#))),
            ("a path with a zero", listing(entry(path: #""a\u0000b""#))),
            ("a long path", listing(entry(path: "\"\(String(repeating: "a/", count: 5000))a\""))),
            ("a path of another type", listing(entry(path: "17"))),
            ("a size below zero", listing(entry(size: "-1"))),
            ("a size beyond all disks", listing(entry(size: "9223372036854775807"))),
            ("a size that is no integer", listing(entry(size: "1e99"))),
            ("a size in words", listing(entry(size: #""two""#))),
            ("a hash that is a path", listing(entry(oid: #""../../../evil""#))),
            ("a hash that is short", listing(entry(oid: #""abc""#))),
            ("a large file's hash that is a path", listing(entry(more: #", "lfs": {"oid": "../../evil", "size": 2}"#))),
            ("the same file twice", listing(entry() + "," + entry())),
            ("one hash for two sizes", listing(entry() + "," + entry(path: #""b.json""#, size: "3"))),
            (
                "the next page on another host",
                at(
                    "/tree/",
                    .init(headers: [("Link", "<http://127.0.0.1:1/evil>; rel=\"next\"")], body: Data("[]".utf8)))
            ),
            (
                "pages in a circle",
                { request in
                    request.target.contains("/tree/")
                        ? .init(headers: [("Link", "<\(request.target)>; rel=\"next\"")], body: Data("[]".utf8)) : nil
                }
            ),
            ("a redirect to nowhere", at("/resolve/", .init(302))),
            (
                "a redirect to itself",
                { $0.target.contains("/resolve/") ? .init(302, headers: [("Location", $0.target)]) : nil }
            ),
            ("a redirect to a file", at("/resolve/", .init(302, headers: [("Location", "file:///etc/passwd")]))),
            (
                "a redirect with a name",
                at("/resolve/", .init(302, headers: [("Location", "http://user:pass@127.0.0.1:1/x")]))
            ),
            ("a redirect that is no address", at("/resolve/", .init(302, headers: [("Location", "http://[::1")]))),
            ("a zipped file", at("/resolve/", .init(headers: [("Content-Encoding", "gzip")], body: Data("{}".utf8)))),
            (
                "a part that was not asked for",
                at("/resolve/", .init(206, headers: [("Content-Range", "bytes 5-6/7")], body: Data("{}".utf8)))
            ),
            ("a range that cannot be", at("/resolve/", .init(416))),
            ("another length than is listed", at("/resolve/", .init(body: Data("{ }".utf8)))),
            ("other bytes than are listed", at("/resolve/", .init(body: Data("[]".utf8)))),
            ("a wait of years", at("/resolve/", .init(429, headers: [("Retry-After", "999999999999999999999999")]))),
            ("a wait below zero", at("/resolve/", .init(429, headers: [("RateLimit", "\"x\";r=0;t=-5")]))),
            ("bad requests", at("/resolve/", .init(400))),
            ("no body, and no end of it", at("/resolve/", .raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"))),
        ]

    @Test("Every lie costs a typed error, and writes nothing outside the cache", arguments: lies.indices)
    func lie(_ index: Int) async throws {
        let (name, override) = Self.lies[index]
        let directory = try TemporaryDirectory()
        let error = try await attempt(directory, override)
        #expect(error is HubError, "\(name): \(error)")
        #expect(
            try FileManager.default.contentsOfDirectory(atPath: directory.url.path)
                == ["cache"].filter { _ in
                    FileManager.default.fileExists(atPath: directory.file("cache").path)
                }, "\(name)")
        // No snapshot that could be taken for whole.
        let snapshot = directory.file("cache/hub/models--org--name/snapshots/\(MockHub.commit)")
        let isWhole = Self.files.allSatisfy { path, data in
            (try? Data(contentsOf: snapshot.appending(path: path))) == data
        }
        #expect(!isWhole, "\(name)")
        #expect(!error.localizedDescription.contains("hf_secret"), "\(name)")
    }

    @Test("An encrypted hub does not lead to plain addresses, and the token keeps to host, port and scheme")
    func origins() throws {
        let hub = URL(string: "https://huggingface.co")!
        #expect(HubConnection.sameOrigin(URL(string: "https://HuggingFace.co:443/a")!, hub))
        for other in [
            "http://huggingface.co", "https://huggingface.co:8443", "https://cdn.huggingface.co",
            "https://huggingface.co.evil.example",
        ] {
            #expect(!HubConnection.sameOrigin(URL(string: other)!, hub), "\(other)")
        }
    }
}
