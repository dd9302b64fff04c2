import ArgumentParser
import Foundation
import JSON
import LanguageModel
import OneBitServer
import Tokenization

struct ServeCommand: AsyncParsableCommand, ModelCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Serve a model to clients of OpenAI's API.",
        discussion: """
            /v1/chat/completions, /v1/completions (with echo and logprobs, as lm-eval needs them), /v1/models, /tokenize, \
            /detokenize, /tokenizer_info, /health and /metrics. All texts are generated in one batch; the same seed gives the \
            same text, alone and among others. Ctrl-C or SIGTERM ends it once the answers under way are done; a second one at \
            once.

            Only this machine can reach it, unless --host says otherwise. If ONEBIT_API_KEY or --key-file has a key, every \
            request must bring one.

            EXAMPLES
              onebit serve packed
              onebit serve packed --port 8000 --parallel 8 --context 8192
              ONEBIT_API_KEY=… onebit serve packed --host 0.0.0.0
              curl http://127.0.0.1:8080/v1/chat/completions \\
                -H "Content-Type: application/json" \\
                -d '{"messages": [{"role": "user", "content": "Hello"}]}'
              lm-eval --model local-completions --tasks arc_easy --model_args \\
                base_url=http://127.0.0.1:8080/v1/completions,model=packed,max_length=2048
            """
    )

    @Argument(help: "The model: a directory, a GGUF file, or its name on the hub.")
    var model: ModelLocation

    @Option(help: ArgumentHelp("Address to listen on.", valueName: "address"))
    var host = "127.0.0.1"

    @Option(help: ArgumentHelp("Port to listen on; 0 lets the system choose.", valueName: "n"))
    var port = 8080

    @Option(help: ArgumentHelp("What the model is called in requests; its name unless given.", valueName: "name"))
    var alias: String?

    @Option(help: ArgumentHelp("Most texts generated at a time; the others wait.", valueName: "n"))
    var parallel = 8

    @Option(help: ArgumentHelp("Most texts that wait; more are turned away with 503.", valueName: "n"))
    var queue = 128

    @Option(
        help: ArgumentHelp("Most tokens of a text with its prompt; the model's context unless given.", valueName: "n"))
    var context: Int?

    @Option(help: ArgumentHelp("Tokens of an answer whose request does not say how many.", valueName: "n"))
    var maxTokens = 2048

    @Option(
        help: ArgumentHelp(
            "Most memory for keys and values, such as 4G; what is free when the first text begins, unless given.",
            valueName: "size"))
    var cacheMemory: ByteSize?

    @Option(
        help: ArgumentHelp(
            "Finished texts whose keys and values are kept for prompts that begin the same.", valueName: "n"))
    var keep = 16

    @Option(help: ArgumentHelp("File of keys, one a line, of which a request has to bring one.", valueName: "file"))
    var keyFile: URL?

    @Option(
        help: ArgumentHelp("A name by which browsers may reach the server; may be given again.", valueName: "host"))
    var allowHost: [String] = []

    @Option(
        help: ArgumentHelp("A page's origin, https://…, that may use it; may be given again.", valueName: "origin"))
    var allowOrigin: [String] = []

    @Flag(help: "Refuse requests that name another model.")
    var exactModel = false

    @OptionGroup var options: ModelOptions

    @Flag(name: [.short, .long], help: "Print no greeting.")
    var quiet = false

    func validate() throws {
        guard (0...65_535).contains(port) else { throw ValidationError("--port must lie between 0 and 65535.") }
        guard (1...256).contains(parallel) else { throw ValidationError("--parallel must lie between 1 and 256.") }
        guard queue >= 0, keep >= 0, maxTokens >= 1, context ?? 1 >= 1 else {
            throw ValidationError("--queue and --keep must be 0 or more, --max-tokens and --context 1 or more.")
        }
        guard alias?.isEmpty != true else { throw ValidationError("--alias must not be empty.") }
        for origin in allowOrigin where origin.wholeMatch(of: /https?:\/\/[^\/?#\s]+/) == nil {
            throw ValidationError(
                "--allow-origin must be an origin, such as https://app.example without a path, not \(origin).")
        }
    }

    mutating func locateModels() async throws { try await model.locate(quiet: quiet) }

    func run() async throws {
        var settings = ServerSettings(modelName: alias ?? model.name)
        (settings.host, settings.port, settings.queueLength) = (host, port, queue)
        (settings.allowedHosts, settings.allowedOrigins) = (allowHost, allowOrigin)
        (settings.standardAnswerTokens, settings.context) = (maxTokens, context)
        settings.acceptsAnyModel = !exactModel
        settings.keys = try keys()
        if !settings.isLoopback, settings.keys.isEmpty {
            StandardStreams.writeError(
                "warning: \(host) can be reached from other machines, and no key is required. Set ONEBIT_API_KEY or give "
                    + "--key-file to require one.\n")
        }
        let loaded = try loadModel(directory: model.url, options: options)
        if let context, context > loaded.configuration.maximumPositions {
            throw ValidationError(
                "--context must be at most the model's context of \(loaded.configuration.maximumPositions).")
        }
        let positions = min(maxTokens, context ?? .max, loaded.configuration.maximumPositions)
        if let bytes = cacheMemory?.bytes, loaded.cacheByteCount(positions: positions) > bytes {
            throw ValidationError(
                "--cache-memory must be \(loaded.cacheByteCount(positions: positions)) bytes or more, for an answer of "
                    + "\(positions) tokens (--max-tokens).")
        }
        let engine = GenerationEngine(
            model: loaded, tokenizer: try loadTokenizer(from: model.url),
            limits: GenerationLimits(
                sequences: parallel, positions: context, cacheBytes: cacheMemory?.bytes, keptSequences: keep,
                promptDetailRows: 32))
        let server = InferenceServer(
            ModelContainer(engine: engine, directory: model.url), settings: settings, sequences: parallel)
        let (name, host, isQuiet) = (settings.modelName, host, quiet)
        try await server.run { port in
            guard !isQuiet else { return }
            let address = host.contains(":") ? "[\(host)]" : host
            StandardStreams.writeError("\(name) is served on http://\(address):\(port)/v1. Ctrl-C ends it.\n")
        }
    }

    private func keys() throws -> [String] {
        var keys: [String] = []
        if let key = ProcessInfo.processInfo.environment["ONEBIT_API_KEY"], !key.isEmpty { keys.append(key) }
        if let keyFile {
            let lines = try readText(of: keyFile, limit: 1 << 20).split(whereSeparator: \.isNewline)
            let found = lines.map { $0.trimmingCharacters(in: .whitespaces) }.filter {
                !$0.isEmpty && !$0.hasPrefix("#")
            }
            // Without one the server would ask nobody for a key.
            guard !found.isEmpty else { throw EmptyKeyFileError(file: keyFile.path) }
            keys += found
        }
        guard keys.allSatisfy({ $0.unicodeScalars.allSatisfy { (0x21..<0x7F).contains($0.value) } }) else {
            throw ValidationError("Keys are of printable ASCII without spaces: they stand in a header.")
        }
        return keys
    }
}

/// A file that has no key.
struct EmptyKeyFileError: LocalizedError {
    let file: String

    var errorDescription: String? { "\(file): expected a key on a line of its own, found none." }
    var recoverySuggestion: String? { "Write one into it, or leave --key-file out to serve without keys." }
}
