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
/// Words of 8 bytes go to four lanes in turn, which the processor multiplies side by side; each is mixed as in FNV-1a, with
/// a rotation that carries high bits down.
public struct ContentDigest: Sendable, Hashable, CustomStringConvertible {
    private var lanes: SIMD4<UInt64> = [
        0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb,
    ]

    public init() {}

    /// Of a teacher or a student: its configuration, and the names, types, shapes and bytes of its tensors.
    public init(of checkpoint: Checkpoint) throws {
        try update(readSmallFile(checkpoint.directory.appending(path: "config.json")))
        for (name, tensor) in checkpoint.tensors.sorted(by: { $0.key < $1.key }) {
            try Task.checkCancellation()
            update(Data("\(name) \(tensor.elementType) \(tensor.shape)".utf8))
            try checkpoint.withUnsafeBytes(of: name) { update($0) }
        }
    }

    /// Of a stream of tokens.
    public init(of tokens: [Int32]) { tokens.withUnsafeBytes { update($0) } }

    /// Of a file.
    public init(of file: URL) throws { try update(Data(contentsOf: file, options: .mappedIfSafe)) }

    mutating func update(_ data: Data) { data.withUnsafeBytes { update($0) } }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        func mix(_ words: SIMD4<UInt64>) {
            let mixed = (lanes ^ words) &* SIMD4(repeating: 0x100_0000_01b3)
            lanes = (mixed &<< 29) | (mixed &>> 35)
        }
        let stride = MemoryLayout<SIMD4<UInt64>>.size
        let whole = bytes.count / stride * stride
        for offset in Swift.stride(from: 0, to: whole, by: stride) {
            mix(bytes.loadUnaligned(fromByteOffset: offset, as: SIMD4<UInt64>.self))
        }
        var rest = SIMD4<UInt64>.zero
        withUnsafeMutableBytes(of: &rest) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[whole...])) }
        mix(rest)
        // The length, so that trailing zeros count.
        mix(SIMD4(repeating: UInt64(bytes.count)))
    }

    /// Sixteen hexadecimal digits.
    public var description: String {
        var combined: UInt64 = 0
        for lane in 0..<4 {
            combined = (combined ^ lanes[lane]) &* 0x100_0000_01b3
            combined ^= combined >> 32
        }
        let digits = String(combined, radix: 16)
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
