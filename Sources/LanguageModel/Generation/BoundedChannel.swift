import Synchronization

/// A channel from one thread that generates to a task that reads, with room for so many elements. The writer asks whether
/// it is full and generates nothing more while it is; so what is written ahead of a slow reader stays small.
final class BoundedChannel<Element: Sendable>: Sendable {
    private struct State {
        var elements: [Element] = []
        /// Elements at the beginning that were read already.
        var readCount = 0
        var end: Result<Void, any Error>?
        var isCancelled = false
        var readers: [CheckedContinuation<Element?, any Error>] = []
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
        state.withLock { state in
            guard state.end == nil, !state.isCancelled else { return }
            if state.readers.isEmpty {
                state.elements.append(element)
            } else {
                state.readers.removeFirst().resume(returning: element)
            }
        }
    }

    /// Ends the channel, behind what was sent.
    func finish(_ result: Result<Void, any Error> = .success(())) {
        state.withLock { state in
            guard state.end == nil else { return }
            state.end = result
            for reader in state.readers { reader.resume(with: result.map { nil }) }
            if !state.readers.isEmpty { state.end = .success(()) }
            state.readers = []
            (state.onCancel, state.onRoom) = (nil, nil)
        }
    }

    /// The next element; nil at the end. Throws the error that ended the channel, once; `CancellationError` when the task
    /// is cancelled, as soon as the writer has ended.
    func next() async throws -> Element? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { reader in
                let onRoom = state.withLock { state -> (@Sendable () -> Void)? in
                    if state.readCount < state.elements.count {
                        let wasFull = state.elements.count - state.readCount == Self.capacity
                        reader.resume(returning: state.elements[state.readCount])
                        state.readCount += 1
                        if state.readCount == state.elements.count {
                            state.elements.removeAll(keepingCapacity: true)
                            state.readCount = 0
                        } else if state.readCount >= Self.capacity {
                            state.elements.removeFirst(state.readCount)
                            state.readCount = 0
                        }
                        return wasFull ? state.onRoom : nil
                    }
                    if let end = state.end {
                        reader.resume(with: end.map { nil })
                        state.end = .success(())
                    } else {
                        state.readers.append(reader)
                    }
                    return nil
                }
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
    /// cancel.
    func stream<Part: Sendable>(
        _ transform: @escaping @Sendable (Element) -> Part?
    ) -> AsyncThrowingStream<Part, any Error> {
        let reader = Reader(channel: self)
        return AsyncThrowingStream {
            while let element = try await reader.channel.next() {
                if let part = transform(element) { return part }
            }
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
