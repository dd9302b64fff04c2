// HubClient: models by their name on the Hugging Face hub, and the cache that they are kept in. May import JSON, TensorFiles and
// other people's HTTP client; nothing that runs a model imports it.

import Foundation
import JSON

/// Downloads models from the Hugging Face hub into the cache that huggingface_hub uses too.
///
///     let client = HubClient(settings: try HubSettings())
///     let model = try await client.snapshot(of: ModelRepository(id: "HuggingFaceTB/SmolLM2-135M-Instruct"))
///     // model.url is a directory in Hugging Face layout
public struct HubClient: Sendable {
    public let settings: HubSettings
    private let pause: @Sendable (Duration) async throws -> Void

    public init(settings: HubSettings) {
        self.init(settings: settings) { try await Task.sleep(for: $0) }
    }

    /// - Parameter pause: how a try waits for the next.
    init(settings: HubSettings, pause: @escaping @Sendable (Duration) async throws -> Void) {
        (self.settings, self.pause) = (settings, pause)
    }

    /// A model's files on this machine: what is missing is downloaded.
    ///
    /// Without `isOffline` the hub is asked once which commit the revision is; where it cannot be reached, and the cache has all
    /// of the files as they last were, these count.
    ///
    /// - Parameters:
    ///   - repository: a name on the hub, with its revision.
    ///   - selection: which of the files.
    ///   - isForced: download anew what the cache has.
    ///   - report: what happens, from any thread.
    /// - Throws: ``HubError``, `FileError` for what cannot be written, `CancellationError`. What was downloaded is kept.
    public func snapshot(
        of repository: ModelRepository, files selection: FileSelection = .model, isForced: Bool = false,
        report: @escaping @Sendable (HubEvent) -> Void = { _ in }
    ) async throws -> HubSnapshot {
        let cache = HubCache(repository, settings: settings)
        if settings.isOffline { return try cachedSnapshot(of: repository, files: selection, in: cache) }
        // With the cache to fall back on, the hub is not waited for.
        let cached = isForced ? nil : try? cachedSnapshot(of: repository, files: selection, in: cache)
        do {
            return try await HubConnection.open(settings, pause: pause, report: report) { connection in
                var connection = connection
                connection.tries = cached == nil ? HubConnection.mostTries : 1
                let listing = try await listing(of: repository, over: connection, cache: cache)
                let files = try selection.files(of: listing, in: repository)
                let bytes = try await download(
                    files, of: listing, in: repository, over: connection, to: cache, isForced: isForced, report: report)
                return HubSnapshot(repository, commit: listing.commit, files: files, downloaded: bytes, in: cache)
            }
        } catch let error as HubError where error.isUnavailability {
            guard let cached else { throw error }
            report(.usingCache(commit: cached.commit, reason: error.localizedDescription))
            return cached
        }
    }

    /// The files of a repository, as the hub lists them.
    ///
    /// - Throws: ``HubError``, `FileError`, `CancellationError`.
    public func listing(
        of repository: ModelRepository, report: @escaping @Sendable (HubEvent) -> Void = { _ in }
    ) async throws -> RepositoryListing {
        let cache = HubCache(repository, settings: settings)
        if settings.isOffline {
            guard let commit = cache.commit(of: repository.revision), let listing = cache.listing(of: commit) else {
                throw HubError.notCached(repository: "\(repository)", cache: settings.cache.path, missing: [])
            }
            return listing
        }
        return try await HubConnection.open(settings, pause: pause, report: report) {
            try await listing(of: repository, over: $0, cache: cache)
        }
    }

    private func listing(
        of repository: ModelRepository, over connection: HubConnection, cache: HubCache
    ) async throws -> RepositoryListing {
        let commit = try await RepositoryListing.commit(of: repository, over: connection)
        if let listing = cache.listing(of: commit) {
            try cache.record(commit, for: repository.revision)
            return listing
        }
        let listing = try await RepositoryListing(of: repository, at: commit, over: connection)
        try cache.record(listing)
        try cache.record(commit, for: repository.revision)
        return listing
    }

    /// What the cache has, without a request.
    private func cachedSnapshot(
        of repository: ModelRepository, files selection: FileSelection, in cache: HubCache
    ) throws -> HubSnapshot {
        func missing(_ files: [String]) -> HubError {
            .notCached(repository: "\(repository)", cache: settings.cache.path, missing: files)
        }
        guard let commit = cache.commit(of: repository.revision) else { throw missing([]) }
        guard let listing = cache.listing(of: commit) else {
            // Written by an older huggingface_hub, which kept no listings: what is there is there.
            let folder = cache.snapshot(of: commit)
            let file = repository.file ?? "config.json"
            guard FileManager.default.fileExists(atPath: folder.appending(path: file).path) else {
                throw missing([file])
            }
            return HubSnapshot(repository, commit: commit, files: [], downloaded: 0, in: cache)
        }
        let files = try selection.files(of: listing, in: repository)
        let lacking = files.filter { !cache.has($0, at: commit) }.map(\.path)
        guard lacking.isEmpty else { throw missing(lacking) }
        return HubSnapshot(repository, commit: commit, files: files, downloaded: 0, in: cache)
    }

    /// Downloads what is missing, and links all of it into the commit's snapshot.
    ///
    /// - Returns: bytes received.
    private func download(
        _ files: [RepositoryFile], of listing: RepositoryListing, in repository: ModelRepository,
        over connection: HubConnection, to cache: HubCache, isForced: Bool,
        report: @escaping @Sendable (HubEvent) -> Void
    ) async throws -> Int {
        let commit = listing.commit
        let wanted = isForced ? files : files.filter { !cache.has($0, at: commit) }
        guard !wanted.isEmpty else { return 0 }
        try cache.prepare()
        // Two files with the same bytes are one blob.
        var blobs: [String: [RepositoryFile]] = [:]
        for file in wanted { blobs[file.blobName, default: []].append(file) }
        if isForced { for copies in blobs.values { try cache.removeBlob(of: copies[0]) } }
        let missing = blobs.values.filter { !cache.hasBlob(of: $0[0]) }
        let bytes = missing.reduce(0) { $0 + $1[0].byteCount }
        let kept = missing.reduce(0) { $0 + cache.partialByteCount(of: $1[0]) }
        try cache.requireSpace(bytes - kept)
        if !missing.isEmpty { report(.planned(files: missing.count, bytes: bytes, kept: kept)) }

        // Small files first: what is wrong with a model shows in its configuration, before gigabytes are there.
        var waiting = blobs.values.sorted { ($0[0].byteCount, $0[0].path) < ($1[0].byteCount, $1[0].path) }[...]
        try await withThrowingTaskGroup(of: Void.self) { group in
            var running = 0
            while running > 0 || !waiting.isEmpty {
                while running < max(1, settings.connections), let copies = waiting.popFirst() {
                    running += 1
                    group.addTask {
                        if !cache.hasBlob(of: copies[0]) {
                            try await FileDownload(
                                file: copies[0], repository: repository,
                                url: listing.address(of: copies[0], in: repository, endpoint: settings.endpoint),
                                connection: connection, cache: cache, report: report
                            ).run()
                        }
                        for copy in copies { try cache.link(copy, into: commit) }
                    }
                }
                try await group.next()
                running -= 1
            }
        }
        return bytes - kept
    }
}

/// What happens while a model is downloaded.
public enum HubEvent: Sendable, Equatable {
    /// What is about to be downloaded; `kept` of its bytes are there from an earlier run.
    case planned(files: Int, bytes: Int, kept: Int)
    /// More bytes have come; fewer than none where some have to come again.
    case received(bytes: Int)
    /// A pause before the next try, or another program's turn.
    case waiting(Duration, reason: String)
    /// The hub cannot be asked; the cache has the model as it last was.
    case usingCache(commit: String, reason: String)
}

/// A model on this machine.
public struct HubSnapshot: Sendable {
    /// The directory of the model, in Hugging Face layout, or its one file.
    public let url: URL
    /// The id of its commit.
    public let commit: String
    /// The files that were asked for; empty where a cache without listings was asked offline.
    public let files: [RepositoryFile]
    /// Bytes that were received for it, as far as they were missing.
    public let downloadedByteCount: Int

    init(
        _ repository: ModelRepository, commit: Commit, files: [RepositoryFile], downloaded: Int, in cache: HubCache
    ) {
        let folder = cache.snapshot(of: commit)
        url = repository.file.map { folder.appending(path: $0) } ?? folder
        (self.commit, self.files, downloadedByteCount) = (commit.description, files, downloaded)
    }
}
