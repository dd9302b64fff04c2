import Foundation
import JSON
import MockHub
import Synchronization
import TestSupport
import Testing

@testable import HubClient

private final class Events: Sendable {
    private let list = Mutex<[HubEvent]>([])
    var all: [HubEvent] { list.withLock { $0 } }
    func append(_ event: HubEvent) { list.withLock { $0.append(event) } }
    var waits: [Duration] {
        all.compactMap { if case .waiting(let duration, _) = $0 { duration } else { nil } }
    }
    var received: Int {
        all.reduce(0) { if case .received(let bytes) = $1 { $0 + bytes } else { $0 } }
    }
}

private let weights = Data((0..<50_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) })
private let model: [String: Data] = [
    "config.json": Data(#"{"model_type": "llama"}"#.utf8),
    "tokenizer.json": Data("{}".utf8),
    "model.safetensors": weights,
    "consolidated.safetensors": weights,
    "pytorch_model.bin": Data("the same once more".utf8),
    "README.md": Data("# A model".utf8),
    "onnx/model.onnx": Data("another format".utf8),
    "additional_chat_templates/tool_use.jinja": Data("{{ messages }}".utf8),
    "original/tokenizer.model": Data("x".utf8),
]

@Suite struct DownloadTests {
    private let directory: TemporaryDirectory
    private let events = Events()

    init() throws { directory = try TemporaryDirectory() }

    private func client(_ hub: MockHub, _ change: (inout HubSettings) -> Void = { _ in }) -> HubClient {
        var settings = HubSettings(endpoint: hub.endpoint, cache: directory.file("hub"))
        // Other tests may keep all threads for a while.
        (settings.metadataTimeout, settings.downloadTimeout) = (.seconds(600), .seconds(600))
        change(&settings)
        return HubClient(settings: settings) { _ in try Task.checkCancellation() }
    }

    private func repository(_ revision: String = "main") throws -> ModelRepository {
        try ModelRepository(id: "org/name", revision: revision)
    }

    private func snapshot(
        _ hub: MockHub, _ selection: FileSelection = .model, revision: String = "main",
        _ change: (inout HubSettings) -> Void = { _ in }
    ) async throws -> HubSnapshot {
        try await client(hub, change).snapshot(of: repository(revision), files: selection) { events.append($0) }
    }

    private var blobs: [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: directory.file("hub/models--org--name/blobs").path))?
            .sorted() ?? []
    }

    // MARK: What is downloaded

    @Test(
        "A model is its configuration, its tokenizer and one format of its weights, as links to blobs by their hashes")
    func layout() async throws {
        let hub = try MockHub(files: model)
        let snapshot = try await snapshot(hub)
        let folder = directory.file("hub/models--org--name")
        #expect(snapshot.url.path == folder.appending(path: "snapshots/\(MockHub.commit)").path)
        let names = Set(snapshot.files.map(\.path))
        #expect(
            names == [
                "config.json", "tokenizer.json", "model.safetensors", "additional_chat_templates/tool_use.jinja",
                "README.md",
            ])
        for name in names {
            #expect(try Data(contentsOf: snapshot.url.appending(path: name)) == model[name])
        }
        let link = try FileManager.default.destinationOfSymbolicLink(
            atPath: snapshot.url.appending(path: "model.safetensors").path)
        #expect(link == "../../blobs/\(MockHub.sha256(weights))")
        let nested = try FileManager.default.destinationOfSymbolicLink(
            atPath: snapshot.url.appending(path: "additional_chat_templates/tool_use.jinja").path)
        #expect(nested == "../../../blobs/\(MockHub.gitHash(model["additional_chat_templates/tool_use.jinja"]!))")
        // Without an end of line, as huggingface_hub writes it.
        #expect(try String(contentsOf: folder.appending(path: "refs/main"), encoding: .utf8) == MockHub.commit)
        #expect(blobs.count == 5)
        #expect(events.received == names.reduce(0) { $0 + model[$1]!.count })
    }

    @Test("What the cache has is not asked for again, and one request finds that out")
    func cached() async throws {
        let hub = try MockHub(files: model)
        _ = try await snapshot(hub)
        let before = hub.requests.count
        let again = try await snapshot(hub)
        #expect(again.downloadedByteCount == 0)
        #expect(hub.requests.dropFirst(before).map(\.target) == ["/api/models/org/name/revision/main"])
    }

    @Test("A commit is asked for by name alone: no request at all when the cache has it")
    func pinned() async throws {
        let hub = try MockHub(files: model)
        _ = try await snapshot(hub, revision: MockHub.commit)
        let before = hub.requests.count
        _ = try await snapshot(hub, revision: MockHub.commit)
        #expect(hub.requests.count == before)
    }

    @Test("Revisions with slashes are quoted on the way and are folders in the cache")
    func pullRequest() async throws {
        let hub = try MockHub(files: model)
        _ = try await snapshot(hub, revision: "refs/pr/1")
        #expect(hub.requests[0].target == "/api/models/org/name/revision/refs%2Fpr%2F1")
        let ref = directory.file("hub/models--org--name/refs/refs/pr/1")
        #expect(try String(contentsOf: ref, encoding: .utf8) == MockHub.commit)
    }

    @Test("Patterns select files, folders among them, and others leave some out")
    func patterns() async throws {
        let hub = try MockHub(files: model)
        let some = try await snapshot(hub, FileSelection(includes: ["*.json", "original/"], excludes: ["tok*.json"]))
        #expect(some.files.map(\.path) == ["config.json", "original/tokenizer.model"])
        await #expect(throws: HubError.nothingSelected(repository: "org/name", patterns: ["*.gguf"])) {
            try await snapshot(hub, FileSelection(includes: ["*.gguf"]))
        }
    }

    @Test("Without safetensors the weights are PyTorch's; shards come with their index")
    func weightFormats() async throws {
        let pytorch = try MockHub(files: ["config.json": Data("{}".utf8), "pytorch_model.bin": weights])
        #expect(try await snapshot(pytorch).files.map(\.path) == ["config.json", "pytorch_model.bin"])
        let shards = [
            "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ]
        let sharded = try MockHub(
            files: Dictionary(uniqueKeysWithValues: shards.map { ($0, Data($0.utf8)) })
                .merging(["pytorch_model.bin.index.json": Data("{}".utf8), "model.fp16.safetensors": weights]) { $1 })
        let other = try TemporaryDirectory()
        #expect(try await snapshot(sharded) { $0.cache = other.url }.files.map(\.path) == shards)
    }

    @Test("A repository of GGUF files asks for the name of one, which is then a model by itself")
    func gguf() async throws {
        let hub = try MockHub(files: ["q8.gguf": weights, "README.md": Data()])
        await #expect(throws: HubError.noModel(repository: "org/name", ggufFiles: ["q8.gguf"])) {
            try await snapshot(hub)
        }
        let repository = try #require(try ModelRepository(reference: "org/name/q8.gguf"))
        let one = try await client(hub).snapshot(of: repository)
        #expect(one.url.lastPathComponent == "q8.gguf")
        #expect(try Data(contentsOf: one.url) == weights)
    }

    @Test("A GGUF file that was split comes with its other parts")
    func splitGGUF() async throws {
        let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
        let all = names + ["m-00001-of-00003.gguf", "other-00001-of-00002.gguf"]
        let hub = try MockHub(files: Dictionary(uniqueKeysWithValues: all.map { ($0, Data($0.utf8)) }))
        let repository = try #require(try ModelRepository(reference: "org/name/\(names[0])"))
        #expect(try await client(hub).snapshot(of: repository).files.map(\.path) == names)
    }

    @Test("Two files with the same bytes are downloaded once; an empty file needs no request")
    func sameBytes() async throws {
        let hub = try MockHub(files: ["a.json": weights, "b/c.json": weights, "empty.json": Data()])
        let snapshot = try await snapshot(hub, FileSelection(includes: ["*"]))
        #expect(hub.storageRequests.count == 1)
        #expect(!hub.requests.contains { $0.target.hasSuffix("empty.json") })
        for file in snapshot.files {
            #expect(try Data(contentsOf: snapshot.url.appending(path: file.path)) == hub.contents(file.path))
        }
    }

    @Test("Listings come in pages")
    func pages() async throws {
        let hub = try MockHub(files: model)
        hub.listPages(of: 2)
        let listing = try await client(hub).listing(of: repository())
        #expect(listing.files.count == model.count)
        #expect(hub.requests.count { $0.target.contains("/tree/") } == 5)
    }

    @Test("Where links are not wanted, snapshots hold copies")
    func copies() async throws {
        let hub = try MockHub(files: model)
        let snapshot = try await snapshot(hub) { $0.copiesFiles = true }
        let path = snapshot.url.appending(path: "model.safetensors").path
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.type] as? FileAttributeType == .typeRegular)
    }

    // MARK: Tokens

    @Test("The token is shown to the hub, and to no other host")
    func token() async throws {
        let hub = try MockHub(files: model)
        hub.require(token: "hf_secret")
        _ = try await snapshot(hub) { $0.token = "hf_secret" }
        #expect(hub.requests.allSatisfy { $0.headers["authorization"] == "Bearer hf_secret" })
        #expect(!hub.storageRequests.isEmpty)
        #expect(hub.storageRequests.allSatisfy { $0.headers["authorization"] == nil })
    }

    @Test("Missing, gated, refused: each says what to do")
    func refusals() async throws {
        let hub = try MockHub(files: model)
        hub.require(token: "hf_secret")
        let endpoint = hub.endpoint.absoluteString
        let missing = HubError.repositoryNotFound(repository: "org/name", endpoint: endpoint, hasToken: false)
        await #expect(throws: missing) { try await snapshot(hub) }
        #expect(missing.recoverySuggestion?.contains("HF_TOKEN") == true)

        hub.override { _ in .init(403, headers: [("X-Error-Code", "GatedRepo")]) }
        let gated = HubError.gated(repository: "org/name", endpoint: endpoint, hasToken: false)
        await #expect(throws: gated) { try await snapshot(hub) }
        #expect(gated.recoverySuggestion?.contains("\(endpoint)/org/name") == true)

        hub.removeOverrides()
        hub.override { _ in .init(401, headers: [("X-Error-Message", "Invalid credentials")]) }
        await #expect {
            try await snapshot(hub) { $0.token = "hf_wrong" }
        } throws: {
            ($0 as? HubError)
                == .refused(url: "\(endpoint)/api/models/org/name/revision/main", reason: "Invalid credentials")
        }
        hub.removeOverrides()
        await #expect(throws: HubError.revisionNotFound(repository: "org/name", revision: "v2")) {
            try await snapshot(hub, revision: "v2") { $0.token = "hf_secret" }
        }
        #expect(events.waits.isEmpty)
    }

    // MARK: Faults

    @Test("A connection that breaks off is taken up where it broke off")
    func resumes() async throws {
        let hub = try MockHub(files: model)
        let cuts = Mutex(0)
        hub.override { request in
            guard request.target.hasPrefix("/model.safetensors"),
                cuts.withLock({
                    $0 += 1
                    return $0
                }) <= 7
            else { return nil }
            var answer = MockHub.bytes(weights, for: request)
            answer.cutsAfter = 5000
            return answer
        }
        let snapshot = try await snapshot(hub)
        #expect(try Data(contentsOf: snapshot.url.appending(path: "model.safetensors")) == weights)
        let ranges = hub.storageRequests.map { $0.headers["range"] }
        // More often than it tries without any gain.
        #expect(ranges == [nil] + (1...7).map { "bytes=\($0 * 5000)-" })
        #expect(hub.requests.count { $0.target.contains("model.safetensors") } == 8, "each with a new signature")
        #expect(events.received == snapshot.files.reduce(0) { $0 + $1.byteCount })
    }

    @Test("What a killed run left is gone on with; a damaged rest is found by the hash and fetched anew")
    func leftovers() async throws {
        let hub = try MockHub(files: model)
        let blobs = directory.file("hub/models--org--name/blobs")
        try FileManager.default.createDirectory(at: blobs, withIntermediateDirectories: true)
        let rest = blobs.appending(path: "\(MockHub.sha256(weights)).incomplete")
        try weights.prefix(20_000).write(to: rest)
        var snapshot = try await snapshot(hub)
        #expect(hub.storageRequests.map { $0.headers["range"] } == ["bytes=20000-"])
        #expect(snapshot.downloadedByteCount == snapshot.files.reduce(-20_000) { $0 + $1.byteCount })

        try FileManager.default.removeItem(at: directory.file("hub/models--org--name"))
        try FileManager.default.createDirectory(at: blobs, withIntermediateDirectories: true)
        try Data(repeating: 7, count: 20_000).write(to: rest)
        snapshot = try await self.snapshot(hub)
        #expect(hub.storageRequests.map { $0.headers["range"] }.suffix(2) == ["bytes=20000-", nil])
        #expect(try Data(contentsOf: snapshot.url.appending(path: "model.safetensors")) == weights)
    }

    @Test("A server that ignores ranges sends everything again, and that counts")
    func ignoresRanges() async throws {
        let hub = try MockHub(files: model)
        let tries = Mutex(0)
        hub.override { request in
            guard request.target.hasPrefix("/model.safetensors") else { return nil }
            var answer = MockServer.Answer(body: weights)
            if tries.withLock({
                $0 += 1
                return $0
            }) == 1 {
                answer.cutsAfter = 30_000
            }
            return answer
        }
        let snapshot = try await snapshot(hub)
        #expect(try Data(contentsOf: snapshot.url.appending(path: "model.safetensors")) == weights)
        #expect(events.received == snapshot.files.reduce(0) { $0 + $1.byteCount })
    }

    @Test("Five tries without any gain are enough; what is there stays for the next run")
    func givesUp() async throws {
        let hub = try MockHub(files: model)
        hub.override { request in
            guard request.target.hasPrefix("/model.safetensors") else { return nil }
            var answer = MockHub.bytes(weights, for: request)
            answer.cutsAfter = request.headers["range"] == nil ? 1234 : 0
            return answer
        }
        await #expect {
            try await snapshot(hub)
        } throws: {
            guard case .interrupted("org/name", "model.safetensors", 1234, of: 50_000, _)? = $0 as? HubError else {
                return false
            }
            return true
        }
        #expect(events.waits == [1, 2, 4, 8].map { .seconds($0) })
        #expect(blobs.contains("\(MockHub.sha256(weights)).incomplete"))
    }

    @Test("Other bytes than the listed ones are never taken: of another hash, too many, too few")
    func wrongBytes() async throws {
        let hub = try MockHub(files: model)
        let wrong = Data(repeating: 1, count: weights.count)
        hub.override { $0.target.hasPrefix("/model.safetensors") ? .init(body: wrong) : nil }
        await #expect(
            throws: HubError.hashMismatch(
                repository: "org/name", file: "model.safetensors", expected: MockHub.sha256(weights),
                found: MockHub.sha256(wrong))
        ) { try await snapshot(hub) }
        for body in [weights + Data([1]), weights.prefix(100)] {
            for isChunked in [false, true] {
                hub.removeOverrides()
                hub.override { request in
                    guard request.target.hasPrefix("/model.safetensors") else { return nil }
                    var answer = MockServer.Answer(body: body)
                    answer.isChunked = isChunked
                    return answer
                }
                await #expect(throws: HubError.self) { try await snapshot(hub) }
            }
        }
        #expect(!blobs.contains(MockHub.sha256(weights)))
        let place = directory.file("hub/models--org--name/snapshots/\(MockHub.commit)/model.safetensors")
        #expect(!FileManager.default.fileExists(atPath: place.path))
    }

    @Test("Too many requests: the wait is the hub's, up to its window; servers that fail are tried again")
    func rateLimit() async throws {
        let hub = try MockHub(files: model)
        let tries = Mutex(0)
        hub.override { _ in
            switch tries.withLock({
                $0 += 1
                return $0
            }) {
            case 1: .init(429, headers: [("RateLimit", "\"api\";r=0;t=55"), ("Retry-After", "3")])
            case 2: .init(429, headers: [("Retry-After", "7")])
            case 3: .init(503)
            default: nil
            }
        }
        _ = try await snapshot(hub)
        #expect(events.waits == [56, 8, 4].map { .seconds($0) })
        hub.override { _ in .init(429, headers: [("RateLimit", "\"api\";r=0;t=100000000000")]) }
        await #expect(throws: HubError.self) { try await client(hub).listing(of: repository("other")) }
    }

    @Test("A hub that cannot be reached is an error, unless the cache has the model as it last was")
    func unreachable() async throws {
        let hub = try MockHub(files: model)
        hub.override { _ in .init(502) }
        await #expect(
            throws: HubError.serverFailed(
                url: "\(hub.endpoint)/api/models/org/name/revision/main", status: 502, reason: "Bad Gateway")
        ) {
            try await snapshot(hub)
        }
        hub.removeOverrides()
        let first = try await snapshot(hub)
        hub.override { _ in .init(502) }
        let before = hub.requests.count
        let second = try await snapshot(hub)
        #expect(second.url == first.url)
        #expect(hub.requests.count == before + 1, "without waiting for it")
        #expect(events.all.contains { if case .usingCache = $0 { true } else { false } })
        // Nobody listens there.
        let free = try MockServer { _ in .init() }.port
        await #expect {
            let other = try TemporaryDirectory()
            return try await snapshot(hub) {
                $0.endpoint = URL(string: "http://127.0.0.1:\(free)")!
                $0.cache = other.url
            }
        } throws: {
            $0.localizedDescription.contains("127.0.0.1 cannot be reached: Connection refused")
        }
    }

    @Test("Offline nothing is asked: the cache has it or lacks it, by name")
    func offline() async throws {
        let hub = try MockHub(files: model)
        await #expect(
            throws: HubError.notCached(repository: "org/name", cache: directory.file("hub").path, missing: [])
        ) {
            try await snapshot(hub) { $0.isOffline = true }
        }
        let online = try await snapshot(hub)
        let before = hub.requests.count
        #expect(try await snapshot(hub) { $0.isOffline = true }.url == online.url)
        try FileManager.default.removeItem(at: online.url.appending(path: "model.safetensors"))
        await #expect(
            throws: HubError.notCached(
                repository: "org/name", cache: directory.file("hub").path, missing: ["model.safetensors"])
        ) { try await snapshot(hub) { $0.isOffline = true } }
        #expect(hub.requests.count == before)
    }

    @Test("Cancelling ends a download that waits for its server, and keeps what came")
    func cancelling() async throws {
        let hub = try MockHub(files: model)
        let isAsked = Mutex(false)
        hub.override { request in
            guard request.target.hasPrefix("/model.safetensors") else { return nil }
            isAsked.withLock { $0 = true }
            var answer = MockServer.Answer(body: weights)
            answer.delay = .seconds(600)
            return answer
        }
        let download = Task { try await snapshot(hub) }
        while !isAsked.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
        download.cancel()
        await #expect(throws: CancellationError.self) { try await download.value }
        #expect(blobs.contains(MockHub.gitHash(model["config.json"]!)))
    }

    @Test("A silent server is left after the time that is set")
    func silence() async throws {
        let hub = try MockHub(files: model)
        hub.override { _ in
            var answer = MockServer.Answer()
            answer.delay = .seconds(600)
            return answer
        }
        await #expect {
            try await snapshot(hub) { $0.metadataTimeout = .milliseconds(50) }
        } throws: {
            ($0 as? HubError) == .unreachable(host: "127.0.0.1", reason: "no answer in time")
        }
    }

    @Test("Two programs that want the same blob take turns")
    func locks() async throws {
        let hub = try MockHub(files: model)
        let results = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<4 { group.addTask { try await snapshot(hub).downloadedByteCount } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(results.count == 4)
        #expect(hub.storageRequests.count == 1)
    }

    @Test("A model that does not fit onto the disk is refused before a byte of it is there")
    func diskSpace() async throws {
        let hub = try MockHub(files: model)
        hub.override { request in
            guard request.target.contains("/tree/") else { return nil }
            let entry = #"{"type": "file", "path": "PATH", "size": SIZE, "oid": "OID"}"#
            let entries = [("config.json", "2"), ("model.safetensors", "1000000000000000")].map { path, size in
                entry.replacing("PATH", with: path).replacing("SIZE", with: size)
                    .replacing("OID", with: MockHub.gitHash(Data(path.utf8)))
            }
            return .init(body: Data("[\(entries.joined(separator: ","))]".utf8))
        }
        await #expect {
            try await snapshot(hub)
        } throws: {
            guard case .notEnoughSpace(_, neededBytes: 1_000_000_000_000_002, _)? = $0 as? FileError else {
                return false
            }
            return true
        }
        #expect(!hub.requests.contains { $0.target.contains("/resolve/") })
    }
}
