import Foundation

/// A row of a table of comma-separated values (RFC 4180), with the line that it begins on.
struct CSVRow: Equatable {
    let line: Int
    let fields: [String]
}

/// The rows of a table. A field in quotation marks may hold commas, line ends, and quotation marks doubled; blank lines
/// are no rows.
///
/// - Throws: ``TaskDataError/malformedItem(file:line:key:reason:)`` for bytes that are no text, and a quotation mark that
///   is never closed.
func csvRows(_ data: Data, file: String) throws -> [CSVRow] {
    func malformed(_ line: Int, _ reason: String) -> TaskDataError {
        .malformedItem(file: file, line: line, key: "", reason: reason)
    }
    guard String(validating: data, as: UTF8.self) != nil else { throw malformed(1, "not UTF-8 text") }
    let (comma, quote) = (UInt8(ascii: ","), UInt8(ascii: "\""))
    let (newline, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
    var rows: [CSVRow] = []
    var fields: [String] = []
    var field: [UInt8] = []
    var line = 1
    var firstLine = 1
    var openedOn: Int?
    var index = data.startIndex

    func isLast(_ index: Int) -> Bool { index + 1 == data.endIndex }
    func endField() {
        fields.append(String(decoding: field, as: UTF8.self))
        field.removeAll(keepingCapacity: true)
    }
    func endRow() {
        endField()
        if fields != [""] { rows.append(CSVRow(line: firstLine, fields: fields)) }
        fields = []
        firstLine = line
    }

    while index < data.endIndex {
        let byte = data[index]
        if byte == newline { line += 1 }
        switch byte {
        case quote where openedOn != nil:
            if !isLast(index), data[index + 1] == quote {
                field.append(quote)
                index += 1
            } else {
                openedOn = nil
            }
        case _ where openedOn != nil: field.append(byte)
        case quote where field.isEmpty: openedOn = line
        case comma: endField()
        case carriageReturn where !isLast(index) && data[index + 1] == newline: break
        case newline: endRow()
        default: field.append(byte)
        }
        index += 1
    }
    if let openedOn { throw malformed(openedOn, "a quotation mark is never closed") }
    endRow()
    return rows
}
