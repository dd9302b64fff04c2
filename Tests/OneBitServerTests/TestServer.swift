import AsyncHTTPClient
import Foundation
import JSON
import LanguageModel
import ModelDescription
import NIOCore
import NIOHTTP1
import NIOPosix
import OneBitRuntime
import TestSupport
import Testing
import Tokenization

@testable import OneBitServer

/// A server with a random packed model that speaks ChatML, on a port of its own.
struct TestServer {
    struct Answer {
        let status: Int
        let headers: HTTPHeaders
        let text: String

        var json: JSONNode {
            get throws { try Data(text.utf8).withUnsafeBytes { try JSONNode(parsing: $0, file: "answer") } }
        }

        /// The objects of a stream, without the mark of its end.
        var events: [JSONNode] {
            get throws {
                try text.split(separator: "\n\n").filter { !$0.hasPrefix(":") && $0 != "data: [DONE]" }.map { event in
                    try #require(event.hasPrefix("data: "))
                    return try Data(event.dropFirst(6).utf8).withUnsafeBytes {
                        try JSONNode(parsing: $0, file: "event")
                    }
                }
            }
        }
    }

    let port: Int
    let served: ServedModel

    static let tokenizer = ChatTokenizer()

    /// Runs tests against a server, and ends it behind them.
    ///
    /// - Parameter pace: seconds that each pass sleeps. A text that is to be left goes on until other tests let its client run: it
    ///   must not take the processor meanwhile.
    static func run(
        sequences: Int = 4, threads: Int = 1, kept: Int = 4, positions: Int = 400, context: Int? = nil,
        pace: TimeInterval = 0,
        change: (inout ServerSettings) -> Void = { _ in },
        _ body: (TestServer) async throws -> Void
    ) async throws {
        let directory = try TemporaryDirectory()
        let configuration = try ModelConfiguration(
            vocabularySize: tokenizer.vocabularySize, hiddenSize: 32, intermediateSize: 48, layerCount: 2,
            attentionHeadCount: 2, keyValueHeadCount: 1, maximumPositions: positions, tiedEmbeddings: false)
        try RandomCheckpoint.write(configuration, to: directory.url)
        let model = try PackedModel(
            directory: directory.url, options: LoadOptions(threads: threads, layoutPolicy: .memory))
        let engine = GenerationEngine(
            model: PacedModel(model: model, pace: pace), tokenizer: tokenizer,
            limits: GenerationLimits(sequences: sequences, positions: context, keptSequences: kept, promptDetailRows: 8)
        )
        var settings = ServerSettings(modelName: "tiny")
        (settings.port, settings.context) = (0, context)
        // Other tests may keep all threads for a while.
        (settings.bodyTime, settings.headTime, settings.drainTime) = (.seconds(600), .seconds(600), .seconds(600))
        change(&settings)
        let server = InferenceServer(
            ModelContainer(engine: engine, chatTemplate: try .chatML()), settings: settings, sequences: sequences)
        let (ports, source) = AsyncStream.makeStream(of: Int.self)
        let running = Task { try await server.run { source.yield($0) } }
        var iterator = ports.makeAsyncIterator()
        let port = try #require(await iterator.next())
        do {
            try await body(TestServer(port: port, served: server.served))
        } catch {
            running.cancel()
            throw error
        }
        running.cancel()
        try await running.value
    }

    func request(_ method: HTTPMethod, _ path: String, body: String? = nil, headers: [(String, String)] = [])
        -> HTTPClientRequest
    {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
        request.method = method
        if !headers.contains(where: { $0.0 == "Content-Type" }), body != nil {
            request.headers.add(name: "Content-Type", value: "application/json")
        }
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        return request
    }

    func get(_ path: String, headers: [(String, String)] = []) async throws -> Answer {
        try await send(request(.GET, path, headers: headers))
    }

    func post(_ path: String, _ body: String, headers: [(String, String)] = []) async throws -> Answer {
        try await send(request(.POST, path, body: body, headers: headers))
    }

    /// Sends bytes, and gives what comes back until the server closes the connection. The client's side stays open.
    func exchange(_ request: String) async throws -> String {
        let group = MultiThreadedEventLoopGroup.singleton
        let channel = try await ClientBootstrap(group: group).connect(host: "127.0.0.1", port: port) { channel in
            channel.eventLoop.makeCompletedFuture {
                try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
            }
        }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: request))
            var answer = ByteBuffer()
            for try await part in inbound { answer.writeImmutableBuffer(part) }
            return String(buffer: answer)
        }
    }

    func send(_ request: HTTPClientRequest) async throws -> Answer {
        let response = try await HTTPClient.shared.execute(request, timeout: .minutes(10))
        let body = try await response.body.collect(upTo: 1 << 26)
        return Answer(status: Int(response.status.code), headers: response.headers, text: String(buffer: body))
    }
}

/// A model whose passes take some time and no processor.
private struct PacedModel: CausalLanguageModel {
    let model: PackedModel
    let pace: TimeInterval

    var configuration: ModelConfiguration { model.configuration }
    func cacheByteCount(positions: Int) -> Int { model.cacheByteCount(positions: positions) }
    func makeDecodingContext(_ limits: DecodingLimits) throws -> any DecodingContext {
        pace > 0 ? Context(try model.makeDecodingContext(limits), pace: pace) : try model.makeDecodingContext(limits)
    }

    private final class Context: DecodingContext {
        private let context: any DecodingContext
        private let pace: TimeInterval

        init(_ context: any DecodingContext, pace: TimeInterval) { (self.context, self.pace) = (context, pace) }

        var limits: DecodingLimits { context.limits }
        func makeSequence(capacity: Int) throws -> SequenceID { try context.makeSequence(capacity: capacity) }
        func removeSequence(_ id: SequenceID) { context.removeSequence(id) }
        func length(of id: SequenceID) -> Int { context.length(of: id) }
        func truncate(_ id: SequenceID, to length: Int) { context.truncate(id, to: length) }
        func decode(_ batch: TokenBatch) throws {
            Thread.sleep(forTimeInterval: pace)
            try context.decode(batch)
        }
        func withLogits<Result>(row: Int, _ body: (UnsafeBufferPointer<Float>) throws -> Result) throws -> Result {
            try context.withLogits(row: row, body)
        }
    }
}
