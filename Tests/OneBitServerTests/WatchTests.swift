import AsyncHTTPClient
import Foundation
import JSON
import NIOCore
import NIOPosix
import Synchronization
import TestSupport
import Testing

@testable import OneBitServer

@Suite("Following a file of lines")
struct LineFollowerTests {
    private let folder: TemporaryDirectory
    private var file: URL { folder.file("log.jsonl") }

    init() throws { folder = try TemporaryDirectory() }

    private func append(_ text: String) throws {
        let handle = try FileHandle(forWritingTo: file)
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(text.utf8))
        try handle.close()
    }

    private func text(_ change: LineFollower.Change?) throws -> [String] {
        try #require(change).lines.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test("A file that is not there is waited for; lines come once, a torn one when it is whole")
    func growth() throws {
        var follower = LineFollower(file)
        #expect(follower.read() == nil)
        try folder.write("one\n\ntwo\nthr", as: "log.jsonl")
        let first = follower.read()
        #expect(first?.isFromBegin == true && first?.hasMore == false)
        #expect(try text(first) == ["one", "two"])
        #expect(try text(follower.read()) == [])
        try append("e")
        #expect(try text(follower.read()) == [])
        try append("e\nfour\n")
        let more = follower.read()
        #expect(more?.isFromBegin == false)
        #expect(try text(more) == ["three", "four"])
        // A character whose bytes come one by one is whole in its line.
        try append("é\n")
        #expect(try text(follower.read()) == ["é"])
    }

    @Test(
        "A file that is cut, replaced or written anew is read from its begin, shorter, as long or longer than before",
        arguments: ["a\n", "one\ntwo\n", "ONE\nTWO\n", "other\nlines\nand more of them\n"], [false, true])
    func replacement(text new: String, atomically: Bool) throws {
        try folder.write("one\ntwo\n", as: "log.jsonl")
        var follower = LineFollower(file)
        #expect(try text(follower.read()) == ["one", "two"])
        if atomically {
            try Data(new.utf8).write(to: file, options: .atomic)
        } else {
            let handle = try FileHandle(forWritingTo: file)
            try handle.truncate(atOffset: 0)
            try handle.write(contentsOf: Data(new.utf8))
            try handle.close()
        }
        let change = follower.read()
        // The same bytes in the same file are the same lines.
        guard atomically || new != "one\ntwo\n" else { return #expect(try text(change) == []) }
        #expect(change?.isFromBegin == true)
        #expect(try text(change) == new.split(separator: "\n").map(String.init))
    }

    @Test("A file that goes and comes again begins anew")
    func removal() throws {
        try folder.write("one\n", as: "log.jsonl")
        var follower = LineFollower(file)
        _ = follower.read()
        try FileManager.default.removeItem(at: file)
        #expect(follower.read() == nil)
        try folder.write("two\n", as: "log.jsonl")
        let change = follower.read()
        #expect(change?.isFromBegin == true)
        #expect(try text(change) == ["two"])
    }

    @Test("A line without end takes no more memory than a line may have; what follows it is read")
    func longLine() throws {
        try folder.write("first\n", as: "log.jsonl")
        var follower = LineFollower(file)
        _ = follower.read()
        var lines: [String] = []
        for _ in 0..<5 {
            try append(String(repeating: "x", count: LineFollower.longestLine * 3 / 4))
            lines += try text(follower.read())
        }
        try append("tail\nnext\n")
        lines += try text(follower.read())
        #expect(lines == [String(repeating: "x", count: 64), "next"])
    }

    @Test("A long file comes in parts, each line once")
    func parts() throws {
        let line = String(repeating: "y", count: 9_999)
        try folder.write(String(repeating: line + "\n", count: 2_000), as: "log.jsonl")
        var follower = LineFollower(file)
        var (count, reads, hasMore) = (0, 0, true)
        while hasMore, let change = follower.read() {
            #expect(change.isFromBegin == (reads == 0) && change.lines.allSatisfy { $0.count == 9_999 })
            (count, reads, hasMore) = (count + change.lines.count, reads + 1, change.hasMore)
        }
        #expect(count == 2_000 && reads == 3)
    }
}

@Suite("A page that is watched")
struct WatchServerTests {
    /// What is watched: changed by tests, and how often it was looked at.
    private final class Subject: Sendable {
        private let state = Mutex((lines: 0, text: "<p>begin</p>", looks: 0, age: 2.0))

        var age: Double {
            get { state.withLock { $0.age } }
            set { state.withLock { $0.age = newValue } }
        }

        var looks: Int { state.withLock { $0.looks } }

        func set(_ lines: Int, _ text: String) { state.withLock { ($0.lines, $0.text) = (lines, text) } }

        var picture: WatchPicture {
            state.withLock { state in
                state.looks += 1
                return WatchPicture(
                    title: "\(state.lines)", sections: [("fixed", "<i>always</i>"), ("text", state.text)],
                    lines: state.lines, age: state.age)
            }
        }
    }

    private struct Server {
        let port: Int
        let subject: Subject

        func url(_ path: String) -> String { "http://127.0.0.1:\(port)\(path)" }

        func answer(_ path: String, headers: [(String, String)] = [], method: String = "GET") async throws
            -> (response: HTTPClientResponse, text: String)
        {
            var request = HTTPClientRequest(url: url(path))
            request.method = .init(rawValue: method)
            for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
            let response = try await HTTPClient.shared.execute(request, timeout: .minutes(10))
            return (response, String(buffer: try await response.body.collect(upTo: 1 << 22)))
        }

        /// Opens a stream and hands its events over, each as its id and data, until the body is done with them.
        func events(
            _ path: String = "/events", headers: [(String, String)] = [],
            _ body: (inout Events) async throws -> Void
        ) async throws {
            var request = HTTPClientRequest(url: url(path))
            for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
            let response = try await HTTPClient.shared.execute(request, timeout: .minutes(10))
            #expect(response.status == .ok)
            #expect(response.headers.first(name: "Content-Type") == "text/event-stream; charset=utf-8")
            var events = Events(iterator: response.body.makeAsyncIterator())
            try await body(&events)
        }
    }

    private struct Events {
        var iterator: HTTPClientResponse.Body.AsyncIterator
        private var buffer = ""

        init(iterator: HTTPClientResponse.Body.AsyncIterator) { self.iterator = iterator }

        /// Whether nothing but comments has come so far: the first of these comes with the head.
        mutating func nothingYet() async throws -> Bool {
            if let part = try await iterator.next() { buffer += String(buffer: part) }
            return buffer == ": hello\n\n"
        }

        /// The next event; nil at the end of the stream.
        mutating func next() async throws -> (id: String, data: JSONNode)? {
            while true {
                while let end = buffer.firstRange(of: "\n\n") {
                    let event = buffer[..<end.lowerBound]
                    buffer.removeSubrange(..<end.upperBound)
                    if event.hasPrefix(":") { continue }
                    let lines = event.split(separator: "\n")
                    try #require(lines.count == 2 && lines[0].hasPrefix("id: ") && lines[1].hasPrefix("data: "))
                    let data = try Data(lines[1].dropFirst(6).utf8).withUnsafeBytes {
                        try JSONNode(parsing: $0, file: "event")
                    }
                    return (String(lines[0].dropFirst(4)), data)
                }
                guard let part = try await iterator.next() else { return nil }
                buffer += String(buffer: part)
            }
        }
    }

    private func run(
        mostWatchers: Int = 64, readingTime: Duration = .seconds(600), _ body: (Server) async throws -> Void
    ) async throws {
        var settings = WatchSettings()
        settings.port = 0
        settings.interval = .milliseconds(20)
        (settings.mostWatchers, settings.readingTime) = (mostWatchers, readingTime)
        let subject = Subject()
        let server = WatchServer(settings: settings) { picture, id, script in
            WatchServer.Page(
                html: "<style>p{}</style><script>\(script)</script><b>\(id)</b><i>\(picture.age ?? -1)</i>"
                    + picture.sections.map(\.html).joined(), style: "p{}")
        } look: {
            subject.picture
        }
        let (ports, source) = AsyncStream.makeStream(of: Int.self)
        let running = Task { try await server.run { source.yield($0) } }
        var iterator = ports.makeAsyncIterator()
        let port = try #require(await iterator.next())
        do {
            try await body(Server(port: port, subject: subject))
        } catch {
            running.cancel()
            throw error
        }
        running.cancel()
        try await running.value
    }

    private func eventually(_ condition: () async throws -> Bool) async throws {
        // Other tests may keep all threads for a while.
        let end = ContinuousClock.now + .seconds(600)
        while ContinuousClock.now < end {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        Issue.record("it did not come to pass")
    }

    @Test("A stream begins with all of the page, and goes on with what changes in it, by the number of lines read")
    func stream() async throws {
        try await run { server in
            server.subject.set(3, "<p>three</p>")
            try await server.events { events in
                let first = try #require(try await events.next())
                #expect(first.id.hasPrefix("3."))
                #expect(try first.data["sections"].object().members.map(\.key).sorted() == ["fixed", "text"])
                #expect(try first.data["title"].string() == "3" && first.data["age"].number() == 2)
                server.subject.set(5, "<p>five\n\u{2028}</p>")
                let second = try #require(try await events.next())
                #expect(second.id.hasPrefix("5."))
                #expect(try second.data["sections"].object().members.map(\.key).sorted() == ["text"])
                #expect(try second.data["sections"]["text"].string() == "<p>five\n\u{2028}</p>")
                // A log that begins anew has fewer lines.
                server.subject.set(0, "")
                let third = try #require(try await events.next())
                #expect(third.id.hasPrefix("0.") && third.id != first.id)
            }
        }
    }

    @Test("Who comes back with the newest id, or from the page itself, is sent only what is new")
    func resumption() async throws {
        try await run { server in
            server.subject.set(7, "seven")
            let page = try await server.answer("/").text
            let id = String(try #require(page.firstMatch(of: /<b>(.+)<\/b>/)).1)
            for (path, headers) in [
                ("/events?after=\(id)", []), ("/events", [("Last-Event-ID", id)]),
                // The header is of a later time than the address.
                ("/events?after=old", [("Last-Event-ID", id)]),
            ] {
                // Some looks later nothing has come.
                let looks = server.subject.looks
                try await server.events(path, headers: headers) { events in
                    try await eventually { server.subject.looks > looks + 3 }
                    #expect(try await events.nothingYet())
                }
            }
            try await server.events(headers: [("Last-Event-ID", id)]) { events in
                // The server knows by now what this client has, though it may not have looked again.
                #expect(try await events.nothingYet())
                server.subject.set(8, "eight")
                let event = try #require(try await events.next())
                #expect(event.id.hasPrefix("8."))
                #expect(try event.data["sections"].object().members.map(\.key).sorted() == ["text"])
            }
            // An id of another process, or of an older picture, is sent everything.
            for old in ["7.abc.1", id + "0", "", "x\u{2603}"] {
                try await server.events(headers: old.isEmpty ? [] : [("Last-Event-ID", old)]) { events in
                    let event = try #require(try await events.next())
                    #expect(try event.data["sections"].object().members.count == 2)
                }
            }
        }
    }

    @Test("A page that is loaded again has the age of that time, though nothing else is new")
    func age() async throws {
        try await run { server in
            #expect(try await server.answer("/").text.contains("<i>2.0</i>"))
            server.subject.age = 900
            try await eventually { try await server.answer("/").text.contains("<i>900.0</i>") }
        }
    }

    @Test("Nothing is looked at while nobody watches")
    func idle() async throws {
        try await run { server in
            #expect(server.subject.looks == 0)
            try await server.events { events in
                _ = try await events.next()
                try await eventually { server.subject.looks > 3 }
            }
            // The client has left: looking ends.
            try await eventually {
                let looks = server.subject.looks
                try await Task.sleep(for: .milliseconds(200))
                return server.subject.looks == looks
            }
        }
    }

    @Test("The page may run its own script and style and connect to its stream, and nothing else; only GET is served")
    func borders() async throws {
        try await run { server in
            let (response, text) = try await server.answer("/")
            #expect(response.headers.first(name: "Content-Type") == "text/html; charset=utf-8")
            #expect(response.headers.first(name: "X-Content-Type-Options") == "nosniff")
            let policy = try #require(response.headers.first(name: "Content-Security-Policy"))
            // SHA-256 of "p{}", by sha256sum and base64.
            #expect(policy.contains("style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y=';"))
            #expect(policy.hasPrefix("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"))
            #expect(text.contains("EventSource(\"events?after=") && !text.contains("http"))
            #expect(try await server.answer("/", method: "HEAD").response.status == .ok)
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                let answer = try await server.answer("/", method: method)
                #expect(answer.response.status == .methodNotAllowed, "\(method)")
                #expect(answer.response.headers.first(name: "Allow") == "GET, HEAD")
            }
            #expect(try await server.answer("/nothing").response.status == .notFound)
            #expect(try await server.answer("/", headers: [("Host", "rebound.example")]).response.status == .forbidden)
            #expect(try await server.answer("/events", headers: [("Host", "a.example")]).response.status == .forbidden)
            #expect(try await server.answer("/", headers: [("Host", "localhost:1")]).response.status == .ok)
        }
    }

    @Test("More than may watch are turned away; when one leaves there is room again")
    func crowd() async throws {
        try await run(mostWatchers: 2) { server in
            try await server.events { one in
                _ = try await one.next()
                try await server.events { two in
                    _ = try await two.next()
                    let third = try await server.answer("/events")
                    #expect(third.response.status == .serviceUnavailable)
                    #expect(third.response.headers.first(name: "Retry-After") == "5")
                    #expect(try await server.answer("/").response.status == .ok)
                }
                try await eventually {
                    try await HTTPClient.shared.execute(
                        HTTPClientRequest(url: server.url("/events")), timeout: .minutes(10)
                    ).status == .ok
                }
            }
        }
    }

    @Test("A client that does not read misses pictures, holds none back, and is closed after a while")
    func slowReader() async throws {
        try await run(readingTime: .milliseconds(300)) { server in
            // A socket of its own, of which nothing is read.
            let group = MultiThreadedEventLoopGroup.singleton
            let channel = try await ClientBootstrap(group: group)
                .channelOption(.autoRead, value: false).channelOption(.socketOption(.so_rcvbuf), value: 4096)
                .connect(host: "127.0.0.1", port: server.port).get()
            try await channel.writeAndFlush(
                ByteBuffer(string: "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            let large = String(repeating: "z", count: 1 << 20)
            try await server.events { events in
                var count = 0
                for number in 1...10 {
                    server.subject.set(number, "\(number)" + large)
                    while let event = try await events.next(), !event.id.hasPrefix("\(number).") { count += 1 }
                }
                #expect(count <= 1, "who reads gets every picture at once")
                // Then the other one is no longer served.
                let looks = server.subject.looks
                try await eventually { server.subject.looks > looks + 25 }
            }
            try await eventually {
                let looks = server.subject.looks
                try await Task.sleep(for: .milliseconds(200))
                return server.subject.looks == looks
            }
            try await channel.close()
        }
    }

    @Test(
        "When the server is to end, open streams and half-open connections do not hold it up")
    func ending() async throws {
        var stream: Task<Bool, any Error>?
        try await run { server in
            let group = MultiThreadedEventLoopGroup.singleton
            let half = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: server.port).get()
            try await half.writeAndFlush(ByteBuffer(string: "GET / HT"))
            let hasBegun = Atomic(false)
            let task = Task {
                try await server.events { events in
                    while try await events.next() != nil { hasBegun.store(true, ordering: .relaxed) }
                }
                return true
            }
            try await eventually { hasBegun.load(ordering: .relaxed) }
            stream = task
        }
        #expect(try await stream?.value == true, "the stream ended as streams end")
    }
}
