import Synchronization

/// A channel from one thread that generates to a task that reads, with room for so many elements. The writer asks whether
/// it is full and generates nothing more while it is; so what is written ahead of a slow reader stays small.
///
/// No reader is resumed while the state is locked. That takes a lock of its task, which is held while the task's cancellation handler
/// waits for the state: either would wait for the other for ever.
final class BoundedChannel<Element: Sendable>: Sendable {
    private typealias ReaderContinuation = CheckedContinuation<Element?, any Error>

    private struct State {
        var elements: [Element] = []
        /// Elements at the beginning that were read already.
        var readCount = 0
        var end: Result<Void, any Error>?
        var isCancelled = false
        var readers: [ReaderContinuation] = []
        var onCancel: (@Sendable () -> Void)?
        var onRoom: (@Sendable () -> Void)?
    }

    private static var capacity: Int { 64 }
    private let state = Mutex(State())

    /// Sets what is called when nobody will read any more, and when a channel that was full has room again.
    func observe(onCancel: @escaping @Sendable () -> Void, onRoom: @escaping @Sendable () -> Void) {
        state.withLock {
            $0.onCancel = onCancel
            $0.onRoom = onRoom
        }
    }

    var isFull: Bool { state.withLock { $0.elements.count - $0.readCount >= Self.capacity } }

    func send(_ element: Element) {
        let reader = state.withLock { state -> ReaderContinuation? in
            guard state.end == nil, !state.isCancelled else { return nil }
            guard state.readers.isEmpty else { return state.readers.removeFirst() }
            state.elements.append(element)
            return nil
        }
        reader?.resume(returning: element)
    }

    /// Ends the channel, behind what was sent.
    func finish(_ result: Result<Void, any Error> = .success(())) {
        let readers = state.withLock { state -> [ReaderContinuation] in
            guard state.end == nil else { return [] }
            let readers = state.readers
            state.end = readers.isEmpty ? result : .success(())
            state.readers = []
            (state.onCancel, state.onRoom) = (nil, nil)
            return readers
        }
        for reader in readers { reader.resume(with: result.map { nil }) }
    }

    /// The next element; nil at the end. Throws the error that ended the channel, once; `CancellationError` when the task
    /// is cancelled, as soon as the writer has ended.
    func next() async throws -> Element? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { reader in
                let (found, onRoom) = state.withLock {
                    state -> (Result<Element?, any Error>?, (@Sendable () -> Void)?) in
                    if state.readCount < state.elements.count {
                        let wasFull = state.elements.count - state.readCount == Self.capacity
                        let element = state.elements[state.readCount]
                        state.readCount += 1
                        if state.readCount == state.elements.count {
                            state.elements.removeAll(keepingCapacity: true)
                            state.readCount = 0
                        } else if state.readCount >= Self.capacity {
                            state.elements.removeFirst(state.readCount)
                            state.readCount = 0
                        }
                        return (.success(element), wasFull ? state.onRoom : nil)
                    }
                    if let end = state.end {
                        state.end = .success(())
                        return (end.map { nil }, nil)
                    }
                    state.readers.append(reader)
                    return (nil, nil)
                }
                if let found { reader.resume(with: found) }
                onRoom?()
            }
        } onCancel: {
            cancel()
        }
    }

    /// Tells the writer that nobody will read any more.
    func cancel() {
        let onCancel = state.withLock { state in
            state.isCancelled = true
            state.elements = []
            state.readCount = 0
            return state.onCancel
        }
        onCancel?()
    }

    /// The channel as a stream of what `transform` makes of its elements, nil to leave one out. To leave the stream is to
    /// cancel. In a cancelled task it ends, as streams do.
    func stream<Part: Sendable>(
        _ transform: @escaping @Sendable (Element) -> Part?
    ) -> AsyncThrowingStream<Part, any Error> {
        let reader = Reader(channel: self)
        return AsyncThrowingStream {
            do {
                while let element = try await reader.channel.next() {
                    if let part = transform(element) { return part }
                }
            } catch is CancellationError where Task.isCancelled {}
            return nil
        }
    }

    /// Held by a stream alone, so that it goes away with it.
    private final class Reader: Sendable {
        let channel: BoundedChannel

        init(channel: BoundedChannel) { self.channel = channel }

        deinit { channel.cancel() }
    }
}
