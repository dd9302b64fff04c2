import Foundation
import JSON
import Tokenization

/// Finds calls of tools in an answer as it comes: `<tool_call>{"name": …, "arguments": …}</tool_call>`, as Hermes and Qwen
/// models write them.
///
/// Text before the first call goes through; from the mark on, or from what may become one, it is held back. What is no call in
/// the end is text after all. Space between calls, and behind the last one, is none: models put a line break there.
struct ToolCallParser {
    private static let opening = "<tool_call>"
    private static let closing = "</tool_call>"

    private var held = ""
    /// Whether nothing but space has come since a call.
    private var isBehindCall = false
    private(set) var calls: [ToolCall] = []

    /// The text that is certainly none of a call.
    mutating func append(_ text: String) -> String {
        held += text
        var released = ""
        while true {
            if isBehindCall {
                let more = held.drop(while: \.isWhitespace)
                guard !Self.opening.hasPrefix(more) || more.count == Self.opening.count else { return released }
                if more.hasPrefix(Self.opening) { held = String(more) }
                isBehindCall = false
            }
            guard let start = held.range(of: Self.opening) else {
                let safe = held.dropLast(Self.possibleStart(of: Self.opening, atEndOf: held))
                released += safe
                held.removeFirst(safe.count)
                return released
            }
            released += held[..<start.lowerBound]
            guard let end = held.range(of: Self.closing, range: start.upperBound..<held.endIndex) else {
                held.removeSubrange(..<start.lowerBound)
                return released
            }
            let body = String(held[start.upperBound..<end.lowerBound])
            if let call = Self.call(body) {
                calls.append(call)
                isBehindCall = true
            } else {
                released += held[start.lowerBound..<end.upperBound]
            }
            held.removeSubrange(..<end.upperBound)
        }
    }

    /// What is left at the end of the answer: text, or a call whose end the model left out.
    mutating func finish() -> String {
        defer { held = "" }
        if held.hasPrefix(Self.opening), let call = Self.call(String(held.dropFirst(Self.opening.count))) {
            calls.append(call)
            return ""
        }
        return isBehindCall && held.allSatisfy(\.isWhitespace) ? "" : held
    }

    /// Characters at the end of a text that may be the beginning of a mark.
    private static func possibleStart(of mark: String, atEndOf text: String) -> Int {
        (1..<mark.count).reversed().first { text.hasSuffix(mark.prefix($0)) } ?? 0
    }

    private static func call(_ text: String) -> ToolCall? {
        guard
            let node = try? Array(text.utf8).withUnsafeBytes({
                try JSONNode(parsing: $0, file: "tool call", duplicateKeys: .lastCounts)
            }), let name = try? node["name"].string()
        else { return nil }
        let arguments = node["arguments"].nonNull ?? node["parameters"]
        let written: String =
            switch arguments.value {
            case .string(let text): text
            case let value?: value.serialized()
            case nil: "{}"
            }
        return ToolCall(name: name, arguments: written)
    }
}
