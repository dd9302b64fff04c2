import Foundation
import JSON
import ModelDescription
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
    public init(_ settings: some Encodable, inputs: [String: ContentDigest]) throws {
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
        self.settings = values
    }

    /// Checks a resumption.
    ///
    /// - Parameters:
    ///   - saved: What the run in `directory` was started as.
    ///   - directory: For the message.
    /// - Throws: ``TrainingError/settingsChanged(directory:key:saved:given:)`` with the first setting that differs.
    package func requireSame(as saved: RunIdentity, in directory: URL) throws {
        let keys = Set(saved.settings.keys).union(settings.keys).sorted()
        guard let key = keys.first(where: { saved.settings[$0] != settings[$0] }) else { return }
        throw TrainingError.settingsChanged(
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
        try update(readSmallFile(checkpoint.directory.appending(path: "config.json")))
        for (name, tensor) in checkpoint.tensors.sorted(by: { $0.key < $1.key }) {
            try Task.checkCancellation()
            update(Data("\(name) \(tensor.elementType) \(tensor.shape)".utf8))
            try checkpoint.withUnsafeBytes(of: name) { pieces.append(xxHash64($0)) }
        }
    }

    /// Of a stream of tokens.
    public init(of tokens: [Int32]) { tokens.withUnsafeBytes { pieces.append(xxHash64($0)) } }

    /// Of a file.
    public init(of file: URL) throws { try update(Data(contentsOf: file, options: .mappedIfSafe)) }

    private mutating func update(_ data: Data) { data.withUnsafeBytes { pieces.append(xxHash64($0)) } }

    /// Sixteen hexadecimal digits.
    public var description: String {
        let digits = String(pieces.withUnsafeBytes { xxHash64($0) }, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension JSONEncoder {
    /// The same value gives the same bytes.
    static var sorted: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}
