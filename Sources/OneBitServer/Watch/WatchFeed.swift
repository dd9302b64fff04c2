import Foundation
import NIOCore
import Synchronization

/// What a watched page shows at a moment.
public struct WatchPicture: Sendable {
    /// Of the browser's window.
    public var title: String
    /// Parts of the page, by the ids of their elements: HTML in which every string is escaped.
    public var sections: [(id: String, html: String)]
    /// Lines of the log that have been read for it.
    public var lines: Int
    /// Seconds since the log was last written to; nil where there is none.
    public var age: Double?

    public init(title: String, sections: [(id: String, html: String)], lines: Int, age: Double?) {
        self.title = title
        self.sections = sections
        self.lines = lines
        self.age = age
    }

    fileprivate func shows(what other: WatchPicture) -> Bool {
        title == other.title && lines == other.lines && sections.elementsEqual(other.sections) { $0 == $1 }
    }
}

/// Hands the newest picture to everyone who watches, and looks for a newer one only while someone does.
///
/// Pictures are not queued: who reads slowly misses those between.
actor WatchFeed {
    /// A picture and its name: lines read, what tells this process from others, and a number.
    struct Entry: Sendable {
        let id: String
        let picture: WatchPicture
    }

    /// Someone who watches.
    final class Watcher: Sendable {
        let entries: AsyncStream<Entry>
        fileprivate let source: AsyncStream<Entry>.Continuation
        private let channel: any Channel
        private let writing = Mutex<ContinuousClock.Instant?>(nil)

        init(channel: any Channel) {
            self.channel = channel
            (entries, source) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        }

        /// Around a write, which waits until the client reads.
        func write(_ body: () async throws -> Void) async throws {
            writing.withLock { $0 = .now }
            try await body()
            writing.withLock { $0 = nil }
        }

        /// Ends a connection whose client has read nothing for so long: it holds memory.
        fileprivate func close(ifUnreadFor time: Duration) {
            if let since = writing.withLock({ $0 }), .now - since > time { channel.close(promise: nil) }
        }
    }

    private let settings: WatchSettings
    private let look: @Sendable () async -> WatchPicture
    private let process = String(UInt32.random(in: 0...UInt32.max), radix: 16)
    private var count = 0
    private var entry: Entry?
    private var lastLook: ContinuousClock.Instant?
    private var watchers: [ObjectIdentifier: Watcher] = [:]
    private var looking: Task<Void, Never>?
    private var hasEnded = false

    init(settings: WatchSettings, look: @escaping @Sendable () async -> WatchPicture) {
        self.settings = settings
        self.look = look
    }

    var isFull: Bool { watchers.count >= settings.mostWatchers }

    /// The picture as it is now, at most an interval old.
    func current() async -> Entry {
        if let entry, let lastLook, .now - lastLook < settings.interval { return entry }
        return await refreshed()
    }

    private func refreshed() async -> Entry {
        let picture = await look()
        lastLook = .now
        if let entry, entry.picture.shows(what: picture) {
            // Nothing is new but its age.
            let entry = Entry(id: entry.id, picture: picture)
            self.entry = entry
            return entry
        }
        count += 1
        let entry = Entry(id: "\(picture.lines).\(process).\(count)", picture: picture)
        self.entry = entry
        return entry
    }

    /// Begins to watch. The watcher hears of the newest picture once an interval, whether it is new or not.
    ///
    /// - Returns: what was seen last, which may be old, so that a client that has just that need not be sent all of the next.
    func add(_ watcher: Watcher) -> Entry? {
        guard !hasEnded else {
            watcher.source.finish()
            return entry
        }
        watchers[ObjectIdentifier(watcher)] = watcher
        guard looking == nil else {
            if let entry { watcher.source.yield(entry) }
            return entry
        }
        // What was seen when someone last watched may be hours old: nobody is shown that.
        looking = Task { [settings] in
            while !Task.isCancelled {
                let entry = await current()
                for watcher in watchers.values {
                    watcher.source.yield(entry)
                    watcher.close(ifUnreadFor: settings.readingTime)
                }
                try? await Task.sleep(for: settings.interval)
            }
        }
        return entry
    }

    func remove(_ watcher: Watcher) {
        watchers[ObjectIdentifier(watcher)] = nil
        guard watchers.isEmpty else { return }
        looking?.cancel()
        looking = nil
    }

    /// Ends all streams, and those to come.
    func end() {
        hasEnded = true
        for watcher in watchers.values { watcher.source.finish() }
        looking?.cancel()
    }
}
