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
    private func load() throws -> [LoadEvent] {
        let events = Mutex<[LoadEvent]>([])
        let model = try PackedModel(
            directory: tiny.directory,
            options: LoadOptions(
                threads: 2, inputPrecision: .bits16, instructionSet: InstructionSet.available[0],
                report: { event in events.withLock { $0.append(event) } }))
        #expect(try model.logits(of: tokens) == expected)
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

    @Test("A file with a flipped bit anywhere, cut short, empty or of something else is made anew, with a warning")
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

    @Test("A file made from other weights is made anew")
    func stale() throws {
        _ = try load()
        // The same shapes, other signs.
        let other = try TinyPackedModel(seed: 2)
        let weights = tiny.directory.appending(path: "model.safetensors")
        try FileManager.default.removeItem(at: weights)
        try FileManager.default.copyItem(at: other.directory.appending(path: "model.safetensors"), to: weights)
        let events = Mutex<[LoadEvent]>([])
        let model = try PackedModel(
            directory: tiny.directory,
            options: LoadOptions(
                threads: 1, inputPrecision: .bits16, report: { event in events.withLock { $0.append(event) } }))
        #expect(try model.logits(of: tokens) == (try other.model().logits(of: tokens)))
        #expect(
            events.withLock { $0 } == [
                .rebuildingLayout(file: file.path, reason: "the checkpoint has changed since")
            ])
    }

    @Test("Where no file can be written the model loads all the same and says so")
    func notWritable() throws {
        // A file where the directory should be: not writable for root either.
        try Data().write(to: tiny.directory.appending(path: ".onebit"))
        let events = try load()
        guard events.count == 2, case .layoutNotKept(file.path, _) = events[1] else {
            Issue.record("found \(events)")
            return
        }
        #expect(events[1].isWarning)
    }
}
