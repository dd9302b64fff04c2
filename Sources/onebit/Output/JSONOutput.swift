import Foundation

/// JSON for scripts: keys sorted, two-space indentation or all on one line, infinities and NaN as the strings "inf",
/// "-inf" and "nan".
func jsonText(_ value: some Encodable, onOneLine: Bool = false) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if !onOneLine { encoder.outputFormatting.insert(.prettyPrinted) }
    encoder.keyEncodingStrategy = .convertToSnakeCase
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "inf",
        negativeInfinity: "-inf",
        nan: "nan"
    )
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

/// Writes `value` to standard output as ``jsonText(_:)`` and a newline.
func writeJSON(_ value: some Encodable) throws {
    try StandardStreams.writeLine(jsonText(value))
}
