// ResumableRuns: what a run that may be stopped is known by, and why it cannot go on. May import ModelDescription.

import Foundation
import JSON
import ModelDescription
import ModelFiles
import TensorFiles

/// What a run computes: its settings, and a digest of everything that it reads. A resumed run must have the same.
///
/// Nothing in it says where the run computes: not threads, device, micro-batches or paths.
public struct RunIdentity: Sendable, Hashable, Codable {
    /// Values by their key path: `budget.batch_size`, `teacher`, ….
    public let settings: [String: String]

    /// - Parameters:
    ///   - settings: Any configuration.
    ///   - inputs: Digests of what is read, by name.
    ///   - corpus: What is trained on, as a corpus says it by its files' digests and weights.
    public init(
        _ settings: some Encodable, inputs: [String: ContentDigest], corpus: [String: String] = [:]
    ) throws {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        var values: [String: String] = [:]
        func visit(_ value: Any, _ path: String) {
            if let object = value as? [String: Any] {
                for (key, member) in object { visit(member, path.isEmpty ? key : "\(path).\(key)") }
            } else {
                values[path] = "\(value)"
            }
        }
        visit(try JSONSerialization.jsonObject(with: encoder.encode(settings), options: .fragmentsAllowed), "")
        for (name, digest) in inputs { values[name] = digest.description }
        values.merge(corpus) { $1 }
        self.settings = values
    }

    /// The same with more of what decides the result.
    public func adding(_ values: [String: String]) -> RunIdentity {
        RunIdentity(settings: settings.merging(values) { $1 })
    }

    private init(settings: [String: String]) { self.settings = settings }

    /// Checks a resumption.
    ///
    /// - Parameters:
    ///   - saved: What the run in `directory` was started as.
    ///   - directory: For the message.
    /// - Throws: ``RunError/settingsChanged(directory:key:saved:given:)`` with the first setting that differs.
    package func requireSame(as saved: RunIdentity, in directory: URL) throws {
        let keys = Set(saved.settings.keys).union(settings.keys).sorted()
        guard let key = keys.first(where: { saved.settings[$0] != settings[$0] }) else { return }
        throw RunError.settingsChanged(
            directory: directory, key: key, saved: saved.settings[key] ?? "not set",
            given: settings[key] ?? "not set")
    }
}

/// A 64-bit digest: enough to notice that a run is resumed on other data, not to withstand somebody who wants to hide it.
///
/// XXH64 of the XXH64 of every piece, so that inputs of any size are read piece by piece.
public struct ContentDigest: Sendable, Hashable, CustomStringConvertible {
    private var pieces: [UInt64] = []

    public init() {}

    /// Of a teacher or a student: its configuration, and the names, types, shapes and bytes of its tensors.
    public init(of checkpoint: Checkpoint) throws {
        try update(ModelFile.contents(of: checkpoint.directory.appending(path: "config.json")))
        for (name, tensor) in checkpoint.tensors.sorted(by: { $0.key < $1.key }) {
            try Task.checkCancellation()
            update(Data("\(name) \(tensor.elementType) \(tensor.shape)".utf8))
            try checkpoint.withUnsafeBytes(of: name) { pieces.append(xxHash64($0)) }
            try checkpoint.releasePages(of: name)
        }
    }

    /// Of a file's contents as they are stored; not of its name or place.
    ///
    /// - Throws: `FileError`, `CancellationError`.
    public init(of file: URL) throws { try self.init(of: [file]) }

    /// Of files' contents as they are stored, one behind the other; of neither names nor places.
    ///
    /// - Throws: `FileError`, `CancellationError`.
    public init(of files: [URL]) throws {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 4 << 20, alignment: 16)
        defer { piece.deallocate() }
        for file in files {
            let input = try InputFile(file, unzips: false)
            while true {
                try Task.checkCancellation()
                let count = try input.read(into: piece)
                update(UnsafeRawBufferPointer(rebasing: piece[..<count]))
                if count < piece.count { break }
            }
        }
    }

    /// Adds a piece. The digest depends on how the bytes are cut into pieces.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) { pieces.append(xxHash64(bytes)) }

    package mutating func update(_ data: Data) { data.withUnsafeBytes { update($0) } }

    /// The digest as a number.
    package var value: UInt64 { pieces.withUnsafeBytes { xxHash64($0) } }

    /// Sixteen hexadecimal digits.
    public var description: String { Self.description(of: value) }

    package static func description(of value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension JSONEncoder {
    /// The same value gives the same bytes.
    package static var sorted: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}
