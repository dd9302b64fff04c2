import Foundation
import Synchronization
import TensorFiles
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

/// The file that keeps the kernels' order of the signs: made once, checked always, trusted never.
@Suite struct SignLayoutCacheTests {
    private let tiny: TinyPackedModel
    private let tokens: [Int]
    private let expected: [Float]

    init() throws {
        tiny = try TinyPackedModel()
        tokens = tiny.tokens(7)
        expected = try tiny.model().logits(of: tokens)
    }

    private var file: URL {
        let layout = InstructionSet.available[0].layout.name
        return tiny.directory.appending(path: ".onebit/\(layout).safetensors")
    }

    /// Loads with the file, checks the logits, and returns what was reported.
    private func load(cache: URL? = nil, expecting other: [Float]? = nil) throws -> [LoadEvent] {
        let events = Mutex<[LoadEvent]>([])
        let model = try PackedModel(
            directory: tiny.directory,
            options: LoadOptions(
                threads: 2, inputPrecision: .bits16, instructionSet: InstructionSet.available[0],
                cacheDirectory: cache, report: { event in events.withLock { $0.append(event) } }))
        #expect(try model.logits(of: tokens) == other ?? expected)
        return events.withLock { $0 }
    }

    @Test("The first load makes the file, the second finds it, and both give the same logits")
    func madeOnce() throws {
        #expect(try load() == [.buildingLayout(file: file.path)])
        let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
        #expect(try load() == [])
        let later = try FileManager.default.attributesOfItem(atPath: file.path)
        #expect(attributes[.modificationDate] as? Date == later[.modificationDate] as? Date)
        let names = try FileManager.default.contentsOfDirectory(atPath: file.deletingLastPathComponent().path)
        #expect(names == [file.lastPathComponent], "nothing temporary is left")
    }

    @Test("Every instruction set finds its own order beside the others'")
    func everyInstructionSet() throws {
        for _ in 0..<2 {
            for instructionSet in InstructionSet.available {
                let model = try tiny.model(instructionSet: instructionSet, layoutPolicy: .file)
                #expect(try model.logits(of: tokens) == expected, "\(instructionSet)")
            }
        }
    }

    @Test("A file with a flipped bit anywhere, cut short, empty or of something else is made again, with a warning")
    func damaged() throws {
        _ = try load()
        let good = try Data(contentsOf: file)
        var damaged: [Data] = [Data(), Data("no safetensors".utf8), good.dropLast(100), good + Data(count: 64)]
        for position in [0, 20, good.count / 3, good.count / 2, good.count - 1] {
            var data = good
            data[position] ^= 0x10
            damaged.append(data)
        }
        for data in damaged {
            try data.write(to: file)
            let events = try load()
            guard events.count == 1, case .rebuildingLayout(file.path, let reason) = events[0] else {
                Issue.record("found \(events)")
                continue
            }
            #expect(!reason.isEmpty && events[0].isWarning)
            #expect(try load() == [], "the new file is good")
        }
    }

    @Test("A file made from other weights is made again, even if sizes and times are the same")
    func stale() throws {
        // The same shapes, other signs.
        let other = try TinyPackedModel(seed: 2)
        let weights = tiny.directory.appending(path: "model.safetensors")
        let expected = try other.model().logits(of: tokens)
        for keepsTime in [false, true] {
            try? FileManager.default.removeItem(at: file)
            _ = try load()
            let original = try Data(contentsOf: weights)
            let time = try FileManager.default.attributesOfItem(atPath: weights.path)[.modificationDate]
            try FileManager.default.removeItem(at: weights)
            try FileManager.default.copyItem(at: other.directory.appending(path: "model.safetensors"), to: weights)
            if keepsTime {
                try FileManager.default.setAttributes([.modificationDate: time!], ofItemAtPath: weights.path)
            }
            let events = try load(expecting: expected)
            #expect(events == [.rebuildingLayout(file: file.path, reason: "the checkpoint has changed since")])
            try original.write(to: weights)
        }
    }

    @Test("chmod, copies that keep times or don't, hard links and a new modification time leave the file valid")
    func sameContent() throws {
        _ = try load()
        let weights = tiny.directory.appending(path: "model.safetensors")
        let made = try Data(contentsOf: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o400], ofItemAtPath: weights.path)
        #expect(try load() == [])
        try FileManager.default.linkItem(at: weights, to: tiny.directory.appending(path: "link"))
        #expect(try load() == [])
        #expect(try Data(contentsOf: file) == made)

        // A new time: all signs are compared, and the time is recorded.
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSinceNow: -1000)], ofItemAtPath: weights.path)
        #expect(try load() == [])
        let recorded = try Data(contentsOf: file)
        #expect(recorded.count == made.count && recorded != made)
        #expect(zip(recorded, made).filter { $0 != $1 }.count <= 16, "the stamp alone changed")
        #expect(try load() == [])
        #expect(try Data(contentsOf: file) == recorded)
    }

    @Test("The file of a checkpoint in a directory that cannot be written is kept in the user's cache directory")
    func userCache() throws {
        // A file where the directory should be: not writable for root either.
        try Data().write(to: tiny.directory.appending(path: ".onebit"))
        let cache = tiny.directory.appending(path: "cache")
        let events = try load(cache: cache)
        guard events.count == 1, case .buildingLayout(let path) = events[0] else {
            Issue.record("found \(events)")
            return
        }
        #expect(path.hasPrefix(cache.path + "/layouts/"))
        #expect(try load(cache: cache) == [])
        // Another checkpoint gets a file of its own.
        let other = try TinyPackedModel(seed: 2)
        try Data().write(to: other.directory.appending(path: ".onebit"))
        let options = LoadOptions(threads: 1, inputPrecision: .bits16, cacheDirectory: cache)
        let expected = try other.model().logits(of: tokens)
        #expect(try PackedModel(directory: other.directory, options: options).logits(of: tokens) == expected)
        #expect(try load(cache: cache) == [])
    }

    @Test("Where no file can be written the model loads all the same and says so")
    func notWritable() throws {
        try Data().write(to: tiny.directory.appending(path: ".onebit"))
        try Data().write(to: tiny.directory.appending(path: "cache"))
        for cache in [nil, tiny.directory.appending(path: "cache")] {
            let events = try load(cache: cache)
            guard events.count == 1, case .layoutNotKept(file.path, _) = events[0] else {
                Issue.record("found \(events)")
                continue
            }
            #expect(events[0].isWarning)
        }
    }

    @Test("A cancelled load ends with an error and leaves no file")
    func cancellation() async throws {
        let directory = tiny.directory
        let task = Task.detached {
            withUnsafeCurrentTask { $0?.cancel() }
            _ = try PackedModel(directory: directory, options: LoadOptions(threads: 2))
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: file.deletingLastPathComponent().path)) ?? []
        #expect(names.isEmpty)
    }
}
