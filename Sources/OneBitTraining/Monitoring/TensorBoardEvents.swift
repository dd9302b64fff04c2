import Foundation
import TensorFiles

/// An event of TensorBoard: the few fields that are written here of `tensorboard/compat/proto/event.proto`, encoded by hand
/// as protocol buffers. Generated code for that file and the seven that it imports would be 60 times as long.
struct TensorBoardEvent: Sendable {
    enum Content: Sendable, Hashable {
        /// What every file begins with.
        case fileVersion
        /// A resumed run begins here: what an earlier file says of this step and later ones no longer holds.
        case sessionStart
        case scalars([Scalar])
        /// Text for the text plug-in.
        case text(tag: String, String)
    }

    struct Scalar: Sendable, Hashable {
        let tag: String
        let value: Float
    }

    /// Seconds since 1970.
    let wallTime: Double
    let step: Int
    let content: Content

    /// `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }`
    var encoded: Data {
        var event = ProtobufMessage()
        event.append(1, wallTime)
        if step != 0 { event.append(2, step) }
        switch content {
        case .fileVersion: event.append(3, Data("brain.Event:2".utf8))
        case .sessionStart:
            // SessionLog { SessionStatus status = 1; }, START = 1
            var session = ProtobufMessage()
            session.append(1, 1)
            event.append(7, session.data)
        case .scalars(let scalars):
            // Summary { repeated Value value = 1; }, Value { string tag = 1; float simple_value = 2; }
            var summary = ProtobufMessage()
            for scalar in scalars {
                var value = ProtobufMessage()
                value.append(1, Data(scalar.tag.utf8))
                value.append(2, scalar.value)
                summary.append(1, value.data)
            }
            event.append(5, summary.data)
        case .text(let tag, let text):
            var summary = ProtobufMessage()
            summary.append(1, Self.textValue(tag: tag, text))
            event.append(5, summary.data)
        }
        return event.data
    }

    /// Value { string tag = 1; TensorProto tensor = 8; SummaryMetadata metadata = 9; }: a vector of one string, and the
    /// name of the plug-in that shows it.
    private static func textValue(tag: String, _ text: String) -> Data {
        // TensorProto { DataType dtype = 1; TensorShapeProto tensor_shape = 2; repeated bytes string_val = 8; }
        var (size, shape, tensor) = (ProtobufMessage(), ProtobufMessage(), ProtobufMessage())
        size.append(1, 1)
        shape.append(2, size.data)
        tensor.append(1, 7)  // DT_STRING
        tensor.append(2, shape.data)
        tensor.append(8, Data(text.utf8))
        // SummaryMetadata { PluginData plugin_data = 1; }, PluginData { string plugin_name = 1; }
        var (plugin, metadata, value) = (ProtobufMessage(), ProtobufMessage(), ProtobufMessage())
        plugin.append(1, Data("text".utf8))
        metadata.append(1, plugin.data)
        value.append(1, Data("\(tag)/text_summary".utf8))
        value.append(8, tensor.data)
        value.append(9, metadata.data)
        return value.data
    }

    /// A record of a TFRecord file: length, its checksum, the event, its checksum.
    var record: Data {
        let event = encoded
        var record = Data()
        func append(_ number: some FixedWidthInteger) {
            withUnsafeBytes(of: number.littleEndian) { record.append(contentsOf: $0) }
        }
        append(UInt64(event.count))
        append(maskedCRC32C(record))
        record.append(event)
        append(maskedCRC32C(event))
        return record
    }
}

/// Fields of a protocol buffer message, in the order of their numbers.
private struct ProtobufMessage {
    private(set) var data = Data()

    private mutating func appendVarint(_ number: UInt64) {
        var rest = number
        while rest >= 0x80 {
            data.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        data.append(UInt8(rest))
    }

    /// Wire types: 0 a variable-length integer, 1 eight bytes, 2 a length and so many bytes, 5 four bytes.
    private mutating func appendKey(_ field: Int, wireType: Int) { appendVarint(UInt64(field << 3 | wireType)) }

    mutating func append(_ field: Int, _ value: Int) {
        appendKey(field, wireType: 0)
        appendVarint(UInt64(bitPattern: Int64(value)))
    }

    mutating func append(_ field: Int, _ value: Double) {
        appendKey(field, wireType: 1)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) }
    }

    mutating func append(_ field: Int, _ value: Float) {
        appendKey(field, wireType: 5)
        withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) }
    }

    mutating func append(_ field: Int, _ bytes: Data) {
        appendKey(field, wireType: 2)
        appendVarint(UInt64(bytes.count))
        data.append(bytes)
    }
}

/// CRC-32C (Castagnoli, RFC 3720 B.4), rotated and shifted as TFRecord files have it, so that the checksum of data that holds
/// checksums is no special case.
func maskedCRC32C(_ data: Data) -> UInt32 {
    let crc = ~data.reduce(~UInt32(0)) { crc, byte in crcTable[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] ^ crc >> 8 }
    return (crc >> 15 | crc << 17) &+ 0xA282_EAD8
}

private let crcTable: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
}

/// A file of events as TensorBoard finds them: `events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER`.
final class TensorBoardFile {
    let url: URL
    private let handle: FileHandle

    /// Begins a file of its own: a resumed run does not write to that of the first.
    ///
    /// - Parameters:
    ///   - directory: Is made where it is missing.
    ///   - step: The first step that the file will hold.
    ///   - isResumed: Whether to take back what earlier files say of this step and later ones.
    init(directory: URL, firstStep step: Int, isResumed: Bool) throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let now = Date().timeIntervalSince1970
        let host = ProcessInfo.processInfo.hostName.split(separator: "/").joined()
        let name = "events.out.tfevents.\(Int(now)).\(host.isEmpty ? "localhost" : host).\(getpid())"
        let number = try FileManager.default.contentsOfDirectory(atPath: directory.path).count
        url = directory.appending(path: "\(name).\(number)")
        let events =
            [TensorBoardEvent(wallTime: now, step: 0, content: .fileVersion)]
            + (isResumed ? [TensorBoardEvent(wallTime: now, step: step, content: .sessionStart)] : [])
        try writeAtomically(events.reduce(into: Data()) { $0 += $1.record }, to: url)
        handle = try FileHandle(forWritingTo: url)
        try handle.seekToEnd()
    }

    deinit { try? handle.close() }

    func append(_ content: TensorBoardEvent.Content, step: Int) throws {
        let event = TensorBoardEvent(wallTime: Date().timeIntervalSince1970, step: step, content: content)
        try handle.write(contentsOf: event.record)
    }
}

extension TensorBoardEvent.Content {
    /// A step under the tags that Hugging Face's Trainer uses, and others beside them.
    init(_ metrics: StepMetrics, peakOperationsPerSecond: Double?) {
        var scalars: [(String, Double)] = [
            ("train/loss", metrics.event.loss),
            ("train/grad_norm", metrics.event.gradientNorm),
            ("train/learning_rate", metrics.learningRates.values.max() ?? 0),
            ("train/epoch", metrics.epoch),
            ("train/num_input_tokens_seen", Double(metrics.tokens)),
            ("train/tokens_per_second", metrics.tokensPerSecond),
            ("train/flops_per_second", metrics.operationsPerSecond),
            ("train/peak_memory_bytes", Double(metrics.peakBytes)),
            ("train/step_seconds", metrics.seconds),
        ]
        scalars += metrics.event.parts.sorted { $0.key < $1.key }.map { ("train/\($0.key)", $0.value) }
        if let turned = metrics.turnedSigns { scalars.append(("train/turned_signs", turned)) }
        if let peakOperationsPerSecond {
            scalars.append(("train/mfu", metrics.operationsPerSecond / peakOperationsPerSecond))
        }
        if Set(metrics.learningRates.values).count > 1 {
            scalars += metrics.learningRates.sorted { $0.key.rawValue < $1.key.rawValue }
                .map { ("train/learning_rate/\($0.key.rawValue)", $0.value) }
        }
        scalars += metrics.phases.sorted { $0.key.rawValue < $1.key.rawValue }
            .map { ("train/seconds/\($0.key.rawValue)", $0.value) }
        self = .scalars(scalars.map { TensorBoardEvent.Scalar(tag: $0, value: Float($1)) })
    }

    init(_ validation: ValidationResult) {
        let scalars: [(String, Double?)] = [
            ("eval/loss", log(validation.perplexity)), ("eval/perplexity", validation.perplexity),
            ("eval/kl_divergence", validation.klDivergence), ("eval/top_1_agreement", validation.topOneAgreement),
            ("eval/runtime", validation.seconds),
        ]
        self = .scalars(
            scalars.compactMap { tag, value in value.map { TensorBoardEvent.Scalar(tag: tag, value: Float($0)) } })
    }
}
