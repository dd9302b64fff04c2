import Foundation
import JSON
import LanguageModel
import ModelFiles

/// Keeps what a model scored, so that a killed run goes on where it stopped.
///
/// A file per model, to which a line is added per item. Items are known by the fingerprint of their tokens: whatever
/// changes a prompt (the data, the task, the tokenizer, BOS, the context length) changes them, and nothing stale is found.
public final class EvaluationJournal {
    private static let format = "onebit-evaluation-journal-1"

    /// Where it lies.
    public let file: URL
    private let descriptor: Int32
    private var entries: [UInt64: [ContinuationScore]] = [:]

    /// Opens a model's journal, or begins it. A last line that was being written when a run was killed is taken off.
    ///
    /// - Parameters:
    ///   - directory: made where there is none.
    ///   - model: the model's name, which the file's begins with.
    ///   - identity: what the scores depend on besides the tokens, see ``identity(weights:configuration:runtime:)``.
    /// - Throws: ``JournalError``, `FileError`
    public init(directory: URL, model: String, identity: String) throws {
        var fingerprint = Fingerprint()
        fingerprint.combine(Array(identity.utf8))
        let name = model.replacing("/", with: "-")
        file = directory.appending(path: "\(name)-\(Self.hexadecimal(fingerprint.value)).jsonl")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        descriptor = open(file.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw JournalError.cannotWrite(file: file.path, reason: Self.systemReason) }
        // Two runs would write into each other's lines.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw JournalError.inUse(file: file.path) }
        try readEntries(identity: identity)
    }

    deinit { close(descriptor) }

    /// What a model's scores depend on besides the tokens.
    ///
    /// - Parameters:
    ///   - weights: what the model's weights are known by.
    ///   - configuration: its `config.json`.
    ///   - runtime: how it is run, where that changes its numbers.
    /// - Throws: `FileError` where `config.json` cannot be read.
    public static func identity(weights: String, configuration: URL, runtime: String) throws -> String {
        var fingerprint = Fingerprint()
        fingerprint.combine(try ModelFile.contents(of: configuration))
        return "\(weights); config.json \(hexadecimal(fingerprint.value)); \(runtime)"
    }

    /// The scores of an item of `count` choices; nil where there are none yet.
    func scores(of fingerprint: UInt64, count: Int) -> [ContinuationScore]? {
        entries[fingerprint].flatMap { $0.count == count ? $0 : nil }
    }

    /// Adds items, one line each.
    func append(_ items: [(fingerprint: UInt64, scores: [ContinuationScore])]) throws {
        try write(items.map { Self.line(fingerprint: $0.fingerprint, scores: $0.scores) }.joined())
    }

    // MARK: The file

    private func readEntries(identity: String) throws {
        let header = JSONValue.object(
            JSONObject([("format", .string(Self.format)), ("model", .string(identity))]))
        let data = try readSmallFile(file, limit: 1 << 30)
        var validLength = 0
        var number = 0
        while validLength < data.count {
            number += 1
            let rest = data[validLength...]
            let end = rest.firstIndex(of: UInt8(ascii: "\n"))
            let value = try? JSONValue.parse(Data(rest[..<(end ?? rest.endIndex)]))
            guard let end, let value, number == 1 ? value == header : insert(value) else {
                // A kill or a power cut spoils the end; elsewhere somebody else has written.
                let isLast = end.map { $0 + 1 == data.endIndex } ?? true
                guard isLast, number > 1 || end == nil else {
                    throw JournalError.damaged(file: file.path, line: number)
                }
                break
            }
            validLength = end + 1
        }
        guard ftruncate(descriptor, off_t(validLength)) == 0, lseek(descriptor, 0, SEEK_END) >= 0 else {
            throw JournalError.cannotWrite(file: file.path, reason: Self.systemReason)
        }
        if validLength == 0 { try write(header.serialized() + "\n") }
    }

    /// False for a line that is no entry.
    private func insert(_ line: JSONValue) -> Bool {
        guard case .object(let object) = line, case .string(let item)? = object["item"],
            let fingerprint = UInt64(item, radix: 16),
            case .array(let sums)? = object["log_likelihoods"], case .array(let greedy)? = object["greedy"],
            sums.count == greedy.count
        else { return false }
        var scores: [ContinuationScore] = []
        for case (let sum, .boolean(let isGreedy)) in zip(sums, greedy) {
            switch sum {
            case .number(let value): scores.append(ContinuationScore(logLikelihood: value, isGreedy: isGreedy))
            case .integer(let value): scores.append(ContinuationScore(logLikelihood: Double(value), isGreedy: isGreedy))
            default: return false
            }
        }
        guard scores.count == sums.count else { return false }
        entries[fingerprint] = scores
        return true
    }

    private static func line(fingerprint: UInt64, scores: [ContinuationScore]) -> String {
        let object = JSONObject([
            ("item", .string(hexadecimal(fingerprint))),
            ("log_likelihoods", .array(scores.map { .number($0.logLikelihood) })),
            ("greedy", .array(scores.map { .boolean($0.isGreedy) })),
        ])
        return JSONValue.object(object).serialized() + "\n"
    }

    private func write(_ text: String) throws {
        var text = text
        try text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let count = Foundation.write(descriptor, rest.baseAddress, rest.count)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { throw JournalError.cannotWrite(file: file.path, reason: Self.systemReason) }
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            }
        }
    }

    private static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    private static var systemReason: String { String(cString: strerror(errno)) }
}

/// A journal that cannot be used.
public enum JournalError: LocalizedError, Sendable, Equatable {
    /// Another process is writing to it.
    case inUse(file: String)
    /// A line that this program did not write.
    case damaged(file: String, line: Int)
    case cannotWrite(file: String, reason: String)

    public var errorDescription: String? {
        switch self {
        case .inUse(let file):
            "\(file): another run is writing to it. Wait for its end, or name another directory."
        case .damaged(let file, let line):
            "\(file), line \(line): not a line of an evaluation's journal. Remove the file to begin anew."
        case .cannotWrite(let file, let reason):
            "\(file): cannot write it: \(reason)."
        }
    }
}

/// A number that stands for a sequence of values: equal ones have equal numbers, on every machine and in every run
/// (which Swift's `Hasher` does not promise), and different ones in all likelihood different numbers.
struct Fingerprint {
    private(set) var value: UInt64 = 0x9E37_79B9_7F4A_7C15

    /// SplitMix64's step, the state moved by the word.
    mutating func combine(_ word: UInt64) {
        var state = value ^ word
        value = splitMix64(&state)
    }

    /// The length goes first, so that sequences do not run into each other.
    mutating func combine(_ tokens: [Int]) {
        combine(UInt64(tokens.count))
        for token in tokens { combine(UInt64(bitPattern: Int64(token))) }
    }

    mutating func combine(_ bytes: some Collection<UInt8>) {
        combine(UInt64(bytes.count))
        for byte in bytes { combine(UInt64(byte)) }
    }
}
