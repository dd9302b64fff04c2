import Foundation

/// How a server is reached and what it takes on. The defaults are safe for one's own machine.
public struct ServerSettings: Sendable {
    /// The address that it listens on.
    public var host = "127.0.0.1"
    /// 0 lets the system choose.
    public var port = 8080
    /// What the model is called in requests and answers.
    public var modelName: String
    /// Keys of which a request has to bring one; without any, none is asked for. Each has prefixes of its own.
    public var keys: [String] = []
    /// Names, besides those of this machine, by which browsers may reach it.
    public var allowedHosts: [String] = []
    /// Pages of other origins that may use it: `https://example.org`. None unless listed.
    public var allowedOrigins: [String] = []
    /// Most tokens of a text with its prompt, as the engine's limits have it; the model's context where nil.
    public var context: Int?
    /// Whether requests may name any model: clients have their names built in.
    public var acceptsAnyModel = true

    /// Texts that wait besides those under way; more are turned away with 503.
    public var queueLength = 128
    /// Most tokens of an answer whose request says nothing of it.
    public var standardAnswerTokens = 2048
    /// Most bytes of a request.
    public var largestBody = 16 << 20
    /// How long the head of a request may take to arrive, and how long a connection may wait for its next request.
    public var headTime: Duration = .seconds(30)
    /// How long the body of a request may take to arrive.
    public var bodyTime: Duration = .seconds(30)
    /// How long a client may leave an answer unread.
    public var readingTime: Duration = .seconds(60)
    /// Most parts of its texts that a stream holds for a client that reads slowly; the engine waits then, with the texts' places
    /// taken. Enough for most answers, whose places are free before their clients have read them.
    public var partsAhead = 16_384
    /// How long answers under way may go on once the server is to end.
    public var drainTime: Duration = .seconds(30)

    public init(modelName: String) { self.modelName = modelName }

    /// Whether only this machine can reach it.
    public var isLoopback: Bool { OneBitServer.isLoopback(host) }
}

/// Most of what a request may ask for (the reference's limits: a request must not take what others need).
enum RequestLimits {
    static let choices = 16
    static let prompts = 256
    static let texts = 1024
    static let topLogProbabilities = 20
    static let stopStrings = 16
    static let stopStringBytes = 256
    static let biases = 1024
    static let messages = 4096
    static let tools = 128
}
