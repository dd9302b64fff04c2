import Synchronization
import Tokenization

/// Generates any number of texts with one model, those under way at the same time in one batch, on a thread of its own.
///
///     let engine = GenerationEngine(model: model, tokenizer: tokenizer)
///     let stream = engine.generate(prompt: tokens, parameters: .greedy)
///
/// Each weight is read once for a token of every text, so several take much less time than one after the other. A request
/// waits until there is memory for its keys and values. Each text is the one that its prompt gives alone (of a packed
/// model: to the byte). A reader who does not read, leaves or is cancelled concerns its own text only, and so does an
/// error.
public final class GenerationEngine: Sendable {
    /// The model, which others may use at the same time.
    public let model: any CausalLanguageModel
    /// Makes text of the model's tokens.
    public let tokenizer: any Tokenizer

    private struct Inbox {
        var requests: [GenerationRequest] = []
        var unusedCaches: [CacheKey] = []
        /// Whether something has happened that the scheduler has not seen.
        var hasNews = false
        /// Generates; nil while there is nothing to generate.
        var task: Task<Void, Never>?
        var live: Set<ObjectIdentifier> = []
        var cancelledCount = 0
    }

    private let executor = SerialTaskExecutor()
    /// Locked by the task alone.
    private let scheduler: Mutex<GenerationScheduler>
    private let inbox = Mutex(Inbox())
    private let published = Mutex(GenerationStatistics())

    /// Takes no memory before the first request.
    public init(
        model: any CausalLanguageModel, tokenizer: any Tokenizer, limits: GenerationLimits = GenerationLimits()
    ) {
        self.model = model
        self.tokenizer = tokenizer
        scheduler = Mutex(GenerationScheduler(model: model, tokenizer: tokenizer, limits: limits))
    }

    /// Continues a prompt, as a stream of text that ends with a ``Generation/info(_:)``.
    ///
    /// Leaving the stream, or cancelling the task that reads it, ends the generation. So far behind a reader who takes its
    /// time the engine does not generate.
    ///
    /// - Parameters:
    ///   - prompt: token ids, special tokens included.
    ///   - parameters: how the next token is chosen, and when to end.
    ///   - stopTokens: tokens that end the text, besides the model's end-of-sequence tokens.
    public func generate(
        prompt: [Int], parameters: GenerateParameters, stopTokens: Set<Int> = []
    ) -> AsyncThrowingStream<Generation, any Error> {
        let input = GenerationRequest.Input(prompt: prompt, parameters: parameters, stopTokens: stopTokens)
        let channel = BoundedChannel<Generation>()
        submit([GenerationRequest(output: .init(channel)) { input }], reader: channel)
        return channel.stream { $0 }
    }

    /// What a generation brings on its way to one who wants to know of its tokens.
    package enum Part: Sendable {
        case text(String)
        /// Comes before the text that its token settles; that of a token that ends the text behind all of it.
        case detail(GenerationDetail)
        /// The end, once.
        case info(GenerateCompletionInfo)
    }

    /// Continues several prompts, with what is told of their tokens. An error of one ends all of them.
    ///
    /// A beginning that several of the prompts have is read once.
    ///
    /// - Parameter prefixScope: whose prompts may share keys and values with these, now and later; nil shares them among these alone.
    package func generate(
        _ inputs: [GenerationRequest.Input], prefixScope: PrefixScope?
    ) -> AsyncThrowingStream<(index: Int, part: Part), any Error> {
        let channel = BoundedChannel<(index: Int, part: Part)>()
        let scope = prefixScope ?? PrefixScope()
        let remaining = Mutex(inputs.count)
        if inputs.isEmpty { channel.finish() }
        let requests = inputs.enumerated().map { index, input in
            let output = GenerationRequest.Output(
                isFull: { channel.isFull },
                send: { channel.send((index, .text($0))) },
                finish: { result in
                    switch result {
                    case .success(let info): channel.send((index, .info(info)))
                    case .failure(let error):
                        channel.cancel()
                        channel.finish(.failure(error))
                    }
                    let isLast = remaining.withLock { remaining in
                        remaining -= 1
                        return remaining == 0
                    }
                    if isLast { channel.finish() }
                },
                sendDetail: { channel.send((index, .detail($0))) })
            return GenerationRequest(index: index, prefixScope: scope, output: output) { input }
        }
        submit(requests, reader: channel)
        return channel.stream { $0 }
    }

    /// What the engine has done and what it holds, as of its last pass.
    package var statistics: GenerationStatistics { published.withLock { $0 } }

    /// Takes requests whose text one channel reads.
    func submit<Part>(_ requests: [GenerationRequest], reader: BoundedChannel<Part>) {
        reader.observe(
            onCancel: { self.cancel(requests) },
            onRoom: { self.inbox.withLock { self.start(&$0) } })
        inbox.withLock { inbox in
            inbox.requests += requests
            inbox.live.formUnion(requests.map(ObjectIdentifier.init))
            start(&inbox)
        }
    }

    /// Frees the sequence that is kept under a key, once no request uses it.
    func removeCache(_ key: CacheKey) {
        inbox.withLock { inbox in
            inbox.unusedCaches.append(key)
            start(&inbox)
        }
    }

    private func cancel(_ requests: [GenerationRequest]) {
        inbox.withLock { inbox in
            for request in requests where !request.isCancelled && inbox.live.contains(ObjectIdentifier(request)) {
                request.cancel()
                inbox.cancelledCount += 1
            }
            // A pass is not finished for texts that nobody waits for.
            if inbox.cancelledCount == inbox.live.count { inbox.task?.cancel() }
            start(&inbox)
        }
    }

    private func start(_ inbox: inout Inbox) {
        inbox.hasNews = true
        if inbox.task == nil { inbox.task = Task(executorPreference: executor) { [self] in run() } }
    }

    private func run() {
        scheduler.withLock { scheduler in
            var isBusy = true
            while takeNews(&scheduler, isBusy: isBusy) {
                // Cancelled passes leave everything as it was; the next step removes their requests.
                isBusy = (try? scheduler.step()) ?? true
                published.withLock { $0 = scheduler.statistics }
                for event in scheduler.events { deliver(event) }
                scheduler.removeEvents()
            }
        }
    }

    /// Gives the scheduler what has come in.
    ///
    /// - Returns: false when the task is to end: there is nothing to do, or it is cancelled and another one goes on.
    private func takeNews(_ scheduler: inout GenerationScheduler, isBusy: Bool) -> Bool {
        inbox.withLock { inbox in
            if Task.isCancelled {
                inbox.task = Task(executorPreference: executor) { [self] in run() }
                return false
            }
            guard inbox.hasNews || isBusy else {
                inbox.task = nil
                return false
            }
            inbox.hasNews = false
            for request in inbox.requests { scheduler.add(request) }
            inbox.requests.removeAll(keepingCapacity: true)
            for key in inbox.unusedCaches { scheduler.removeCache(key) }
            inbox.unusedCaches.removeAll(keepingCapacity: true)
            return true
        }
    }

    private func deliver(_ event: GenerationScheduler.Event) {
        switch event {
        case .text(let request, let text): request.output?.send(text)
        case .detail(let request, let detail): request.output?.sendDetail?(detail)
        case .end(let request, let result):
            inbox.withLock { inbox in
                inbox.live.remove(ObjectIdentifier(request))
                if request.isCancelled { inbox.cancelledCount -= 1 }
            }
            request.output?.finish(result)
        }
    }
}

extension GenerationRequest.Output {
    /// Sends text and end to a channel of their own.
    init(_ channel: BoundedChannel<Generation>) {
        self.init(
            isFull: { channel.isFull },
            send: { channel.send(.chunk($0)) },
            finish: { result in
                if case .success(let info) = result { channel.send(.info(info)) }
                channel.finish(result.map { _ in })
            })
    }
}
