import AsyncHTTPClient
import Foundation
import JSON
import NIOCore
import NIOHTTP1
import Testing
import Tokenization

@testable import OneBitServer

@Suite("The server among its clients")
struct ServerBehaviorTests {
    /// Texts that are to go on have no token 2, which ends a text.
    private static let endless = #""logit_bias": {"2": false}"#

    private func eventually(_ condition: () async throws -> Bool) async throws {
        // Other tests may keep all threads for a while.
        let end = ContinuousClock.now + .seconds(600)
        while ContinuousClock.now < end {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        Issue.record("it did not come to pass")
    }

    @Test("A client that leaves ends its text at once, streamed or not, and those that wait in the queue")
    func leaving() async throws {
        try await TestServer.run(sequences: 1, positions: 200_000, pace: 0.005) { server in
            for streams in [true, false] {
                let body = #"{"prompt": "Once", \#(Self.endless), "max_tokens": 199000, "stream": \#(streams)}"#
                var clients: [Task<Void, any Error>] = []
                for _ in 0..<3 {
                    clients.append(
                        Task {
                            let response = try await HTTPClient.shared.execute(
                                server.request(.POST, "/v1/completions", body: body), timeout: .minutes(10))
                            for try await _ in response.body {}
                        })
                }
                try await eventually { server.served.textsInFlight == 3 }
                for client in clients { client.cancel() }
                try await eventually { server.served.textsInFlight == 0 }
                try await eventually { server.served.container.engine.statistics.running == 0 }
            }
            #expect(try await server.post("/v1/completions", #"{"prompt": "a", "max_tokens": 2}"#).status == 200)
        }
    }

    @Test("For a client that reads nothing the engine stops generating")
    func slowReader() async throws {
        let change: (inout ServerSettings) -> Void = { $0.partsAhead = 100 }
        try await TestServer.run(positions: 200_000, change: change) { server in
            let body = #"""
                {"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": true, "max_tokens": 190000, "stream": true, "n": 4,
                 "logprobs": true, "top_logprobs": 20}
                """#
            let response = try await HTTPClient.shared.execute(
                server.request(.POST, "/v1/chat/completions", body: body), timeout: .minutes(10))
            let engine = server.served.container.engine
            try await eventually {
                let count = engine.statistics.generatedTokens
                try await Task.sleep(for: .milliseconds(500))
                return count > 100 && engine.statistics.generatedTokens == count
            }
            #expect(engine.statistics.running == 4)
            var iterator = response.body.makeAsyncIterator()
            #expect(try await iterator.next() != nil)
        }
    }

    @Test("The texts of one request may be more than the queue has room for")
    func largeRequest() async throws {
        let change: (inout ServerSettings) -> Void = { $0.queueLength = 2 }
        try await TestServer.run(sequences: 2, positions: 200_000, pace: 0.005, change: change) { server in
            let body = #"{"prompt": "a", \#(Self.endless), "max_tokens": 199000}"#
            let long = Task { try await server.post("/v1/completions", body) }
            try await eventually { server.served.textsInFlight == 1 }
            let many = try await server.post("/v1/completions", #"{"prompt": "a", "n": 8, "max_tokens": 1}"#)
            #expect(try many.json["choices"].elements().count == 8)
            long.cancel()
        }
    }

    @Test("A client that asks whether to send its body is told so")
    func expectation() async throws {
        try await TestServer.run { server in
            let body = #"{"prompt": "a", "max_tokens": 1}"#
            let answer = try await server.exchange(
                "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    + "Expect: 100-continue\r\nConnection: close\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            #expect(answer.hasPrefix("HTTP/1.1 100 Continue\r\n"))
            #expect(answer.contains("HTTP/1.1 200 OK\r\n"))
        }
    }

    @Test("HTTP/1.0 gets a stream without chunks")
    func earlierVersion() async throws {
        try await TestServer.run { server in
            let body = #"{"prompt": "a", "max_tokens": 3, "stream": true}"#
            let answer = try await server.exchange(
                "POST /v1/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)")
            #expect(answer.hasPrefix("HTTP/1.0 200 OK\r\n") && !answer.lowercased().contains("transfer-encoding"))
            #expect(answer.contains("\r\n\r\ndata: {") && answer.hasSuffix("data: [DONE]\n\n"))
        }
    }

    @Test("An answer may take longer than the head of a request")
    func longAnswers() async throws {
        let change: (inout ServerSettings) -> Void = { $0.headTime = .milliseconds(500) }
        try await TestServer.run(pace: 0.02, change: change) { server in
            let start = ContinuousClock.now
            let answer = try await server.post(
                "/v1/completions", #"{"prompt": "Once", \#(Self.endless), "max_tokens": 60}"#)
            #expect(answer.status == 200)
            #expect(ContinuousClock.now - start > .milliseconds(500), "too fast to show anything")
        }
    }

    @Test("A full queue turns requests away with 503 and a time")
    func queue() async throws {
        let change: (inout ServerSettings) -> Void = { $0.queueLength = 1 }
        try await TestServer.run(sequences: 1, positions: 200_000, pace: 0.005, change: change) { server in
            let body = #"{"prompt": "Once", \#(Self.endless), "max_tokens": 199000}"#
            let clients = (0..<2).map { _ in Task { try await server.post("/v1/completions", body) } }
            try await eventually { server.served.textsInFlight == 2 }
            let third = try await server.post("/v1/completions", #"{"prompt": "a"}"#)
            #expect(third.status == 503)
            #expect(third.headers.first(name: "Retry-After") == "1")
            // What does not generate answers all the same.
            #expect(try await server.get("/health").status == 200)
            #expect(try await server.get("/metrics").text.contains("onebit_texts_in_flight 2"))
            for client in clients { client.cancel() }
            try await eventually { server.served.textsInFlight == 0 }
        }
    }

    @Test("When the server is to end, answers under way are finished first")
    func draining() async throws {
        var stream: Task<TestServer.Answer, any Error>?
        try await TestServer.run { server in
            let task = Task {
                try await server.post(
                    "/v1/completions", #"{"prompt": "Once", "max_tokens": 350, "stream": true, "temperature": 0}"#)
            }
            try await eventually { server.served.textsInFlight == 1 }
            stream = task
        }
        let answer = try #require(try await stream?.value)
        #expect(answer.text.hasSuffix("data: [DONE]\n\n"))
    }

    @Test("A stream that outlasts the time for draining ends with an error event")
    func drainingEnds() async throws {
        try await TestServer.run(positions: 200_000, pace: 0.005) { server in
            let body = #"{"prompt": "Once", \#(Self.endless), "max_tokens": 199000, "stream": true}"#
            let client = Task { try await server.post("/v1/completions", body) }
            try await eventually { server.served.textsInFlight == 1 }
            server.served.endStreams(in: .milliseconds(100))
            let answer = try await client.value
            #expect(try answer.events.last?["error"]["code"].string() == "shutting_down")
            #expect(answer.text.hasSuffix("data: [DONE]\n\n"))
        }
    }

    @Test("With keys, only those who bring one are served; the names of keys are not told apart by prefix")
    func keys() async throws {
        let change: (inout ServerSettings) -> Void = { $0.keys = ["key-one", "key-two"] }
        try await TestServer.run(change: change) { server in
            let body = #"{"prompt": "\#(String(repeating: "the same beginning ", count: 4))", "max_tokens": 1}"#
            for headers in [
                [], [("Authorization", "Bearer ")], [("Authorization", "Bearer key-on")],
                [("Authorization", "Bearer key-one2")], [("Authorization", "Basic key-one")],
            ] {
                let answer = try await server.post("/v1/completions", body, headers: headers)
                #expect(answer.status == 401)
                #expect(try answer.json["error"]["type"].string() == "authentication_error")
            }
            func cached(_ headers: [(String, String)]) async throws -> Int {
                let answer = try await server.post("/v1/completions", body, headers: headers)
                #expect(answer.status == 200)
                return try answer.json["usage"]["prompt_tokens_details"]["cached_tokens"].integer()
            }
            #expect(try await cached([("Authorization", "Bearer key-one")]) == 0)
            // Another key does not profit from what this one has read.
            #expect(try await cached([("X-Api-Key", "key-two")]) == 0)
            #expect(try await cached([("Authorization", "bearer key-one")]) > 50)
            #expect(try await server.get("/health").status == 200)
            #expect(try await server.get("/v1/models").status == 401)
        }
    }

    @Test("The page is one file under a policy that lets it ask this server alone, and is not sent twice")
    func page() async throws {
        let change: (inout ServerSettings) -> Void = { $0.keys = ["key"] }
        try await TestServer.run(change: change) { server in
            let page = try await server.get("/")
            #expect(page.status == 200)
            let policy = try #require(page.headers.first(name: "Content-Security-Policy"))
            #expect(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"))
            #expect(page.headers.first(name: "Referrer-Policy") == "no-referrer")
            #expect(page.text.hasPrefix("<!DOCTYPE html>"))
            #expect(page.text.firstMatch(of: /(src|href)="(https?:)?\/\//) == nil)
            let tag = try #require(page.headers.first(name: "ETag"))
            let again = try await server.get("/", headers: [("If-None-Match", tag)])
            #expect(again.status == 304 && again.text.isEmpty)
        }
    }

    @Test("An error tells nobody where the model's files are")
    func paths() {
        let error = APIError(ChatTemplateError.systemUnsupported(file: "/home/some one/models/x/chat_template.jinja"))
        #expect(error.message.hasPrefix("chat_template.jinja: the chat template leaves"))
        let roles = "roles must alternate user/assistant/user/assistant/..."
        #expect(APIError(ChatTemplateError.malformed(file: "/m/t.json", reason: roles)).message.hasSuffix(roles))
    }

    @Test(
        "A connection ends behind an answer that says so, whatever the client still sends, and one of HTTP/1.0; a body that nobody reads ends it too"
    )
    func closedConnections() async throws {
        let change: (inout ServerSettings) -> Void = { $0.bodyTime = .seconds(5) }
        try await TestServer.run(change: change) { server in
            let refused = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{"
            let health = "GET /health HTTP/1.1\r\nHost: localhost\r\n"
            for (request, status) in [
                (refused, "415"), (health + "Content-Length: 1000000\r\n\r\n{", "200"),
                (health + "Connection: keep-alive, Close\r\n\r\n\(health)\r\n", "200"),
                ("GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", "400"),
                ("GET /health HTTP/1.1\r\n\r\n", "400"),
                ("GET /health HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", "200"),
                ("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n\(health)\r\n", "404"),
            ] {
                let answer = try await server.exchange(request)
                #expect(
                    answer.hasPrefix("HTTP/1.\(request.contains("HTTP/1.0") ? 0 : 1) \(status) "),
                    "\(request): \(answer)")
                #expect(answer.components(separatedBy: "HTTP/1.").count == 2, "\(answer)")
            }
        }
    }

    @Test("The description of the API names the addresses that there are, and methods that there are not are refused")
    func description() async throws {
        let change: (inout ServerSettings) -> Void = { $0.keys = ["key"] }
        try await TestServer.run(change: change) { server in
            let document = try await server.get("/openapi.json").json
            #expect(try document["openapi"].string() == "3.1.0")
            let described = try document["paths"].members().flatMap { path, operations in
                try operations.members().map { "\($0.key.uppercased()) \(path)" }
            }
            let routes = InferenceServer(server.served.container, settings: server.served.settings, sequences: 1)
                .router().routes.map { "\($0.method) \($0.path)".replacing("**", with: "{model}") }
            // Those of two are named by the longer one.
            #expect(Set(described) == Set(routes).subtracting(["GET /models", "POST /chat/completions"]))
            let text = try await server.get("/openapi.json").text
            for reference in text.matches(of: /"#\/components\/(\w+)\/(\w+)"/) {
                #expect(!document["components"][String(reference.1)][String(reference.2)].isMissing, "\(reference.0)")
            }
            let key = [("Authorization", "Bearer key")]
            for (method, path, allowed) in [
                (HTTPMethod.GET, "/v1/completions", "POST"), (.DELETE, "/health", "GET, HEAD"),
                (.PUT, "/chat/completions", "POST"),
            ] {
                let answer = try await server.send(server.request(method, path, headers: key))
                #expect(answer.status == 405 && answer.headers.first(name: "Allow") == allowed)
            }
            let head = try await server.send(server.request(.HEAD, "/health"))
            #expect(head.status == 200 && head.text.isEmpty)
            #expect(try await server.send(server.request(.HEAD, "/v1/completions", headers: key)).status == 405)
        }
    }

    @Test("The address of chats may come without its version, as with other servers")
    func plainAddress() async throws {
        try await TestServer.run { server in
            let chat = #"{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}"#
            #expect(try await server.post("/chat/completions", chat).status == 200)
            let metrics = try await server.get("/metrics").text
            #expect(metrics.contains(#"onebit_requests_total{route="/v1/chat/completions",status="200"} 1"#))
        }
    }

    @Test("Other names, other pages and other kinds of bodies are refused")
    func borders() async throws {
        let change: (inout ServerSettings) -> Void = {
            $0.allowedOrigins = ["https://chat.example"]
            $0.largestBody = 2000
        }
        try await TestServer.run(change: change) { server in
            let body = #"{"prompt": "a", "max_tokens": 1}"#
            #expect(try await server.get("/health", headers: [("Host", "rebound.example")]).status == 403)
            for host in ["localhost:80", "127.0.0.1", "[::1]:8080", "app.localhost"] {
                #expect(try await server.get("/health", headers: [("Host", host)]).status == 200, "\(host)")
            }
            #expect(
                try await server.post("/v1/completions", body, headers: [("Origin", "https://evil.example")]).status
                    == 403)
            let listed = try await server.post("/v1/completions", body, headers: [("Origin", "https://chat.example")])
            #expect(listed.status == 200)
            #expect(listed.headers.first(name: "Access-Control-Allow-Origin") == "https://chat.example")
            #expect(listed.headers.first(name: "Access-Control-Allow-Credentials") == nil)
            let refusal = try await server.post("/v1/completions", "{}", headers: [("Origin", "https://chat.example")])
            #expect(refusal.status == 400)
            #expect(refusal.headers.first(name: "Access-Control-Allow-Origin") == "https://chat.example")
            let unlisted = try await server.send(
                server.request(.HEAD, "/", headers: [("Origin", "https://evil.example")]))
            #expect(unlisted.status == 200 && unlisted.headers.first(name: "Access-Control-Allow-Origin") == nil)
            let compressed = try await server.post("/v1/completions", body, headers: [("Content-Encoding", "gzip")])
            #expect(compressed.status == 415)
            #expect(try await server.get("/v1/models/tiny").json["id"].string() == "tiny")
            #expect(try await server.get("/v1/models/org/other").status == 404)
            let own = "http://127.0.0.1:\(server.port)"
            #expect(try await server.post("/v1/completions", body, headers: [("Origin", own)]).status == 200)
            #expect(
                try await server.post("/v1/completions", body, headers: [("Content-Type", "text/plain")]).status == 415)
            let large = try await server.post(
                "/v1/completions", #"{"prompt": "\#(String(repeating: "a", count: 3000))"}"#)
            #expect(large.status == 413)
            #expect([404, 405].contains(try await server.get("/v1/completions").status))
            let nowhere = try await server.get("/v1/nothing")
            #expect(nowhere.status == 404)
            #expect(try nowhere.json["error"]["message"].string().contains("/v1"))
        }
    }
}
