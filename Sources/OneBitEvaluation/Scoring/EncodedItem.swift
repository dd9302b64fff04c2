import LanguageModel

/// An item as the model is asked about it: choices that share a context are one request.
struct EncodedItem {
    /// Where the item stands among those of its task.
    let index: Int
    let requests: [ContinuationRequest]
    /// Of every choice, the request and the continuation in it.
    let places: [(request: Int, continuation: Int)]
    let isTruncated: Bool
    /// Tokens that the model is given, a shared context counted once.
    let tokenCount: Int
    /// Tokens of the longest context and continuation.
    let length: Int
    /// What a result of it is known by: the same tokens, asked the same way, have the same fingerprint.
    let fingerprint: UInt64

    /// - Throws: ``UnscorableItemError``
    init(_ item: TaskItem, index: Int, encoder: PromptEncoder, maximumLength: Int) throws {
        var requests: [ContinuationRequest] = []
        var places: [(request: Int, continuation: Int)] = []
        var isTruncated = false
        var fingerprint = Fingerprint()
        for (number, pair) in try encoder.pairs(of: item.choices).enumerated() {
            func unscorable(_ reason: String) -> UnscorableItemError {
                UnscorableItemError(file: item.file, line: item.line, choice: number, reason: reason)
            }
            var pair = pair
            guard !pair.continuation.isEmpty else { throw unscorable("the tokenizer makes no token of it") }
            guard !pair.context.isEmpty else {
                throw unscorable("nothing stands before it, and the tokenizer has no token that begins a sequence")
            }
            if pair.truncate(toContext: maximumLength) { isTruncated = true }
            fingerprint.combine(pair.context)
            fingerprint.combine(pair.continuation)
            let request = requests.firstIndex { $0.context == pair.context } ?? requests.count
            if request == requests.count {
                requests.append(ContinuationRequest(context: pair.context, continuations: []))
            }
            places.append((request, requests[request].continuations.count))
            requests[request].continuations.append(pair.continuation)
        }
        self.index = index
        self.requests = requests
        self.places = places
        self.isTruncated = isTruncated
        tokenCount = requests.reduce(0) { sum, request in
            request.continuations.reduce(sum + request.context.count) { $0 + $1.count }
        }
        length = requests.map { $0.context.count + ($0.continuations.map(\.count).max() ?? 0) }.max() ?? 0
        self.fingerprint = fingerprint.value
    }

    /// The scores of the choices, from those of the requests.
    func scores(from requestScores: ArraySlice<[ContinuationScore]>) -> [ContinuationScore] {
        places.map { requestScores[requestScores.startIndex + $0.request][$0.continuation] }
    }
}
