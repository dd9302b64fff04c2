/// A table of text: aligned columns for a terminal, or Markdown.
struct TextTable {
    enum Alignment { case left, right }

    struct Column {
        let title: String
        let alignment: Alignment

        /// A column of words.
        static func text(_ title: String) -> Column { Column(title: title, alignment: .left) }
        /// A column of figures.
        static func figure(_ title: String) -> Column { Column(title: title, alignment: .right) }
    }

    let columns: [Column]
    private(set) var rows: [[String]] = []

    init(_ columns: [Column]) {
        self.columns = columns
    }

    /// Adds a row. Cells that are missing at the end stay empty; there must not be more cells than columns.
    mutating func append(_ cells: [String]) {
        precondition(cells.count <= columns.count, "a row of \(cells.count) cells in \(columns.count) columns")
        // A cell is one line: a newline in a token or a story would break the table.
        let lines = cells.map { $0.split(whereSeparator: \.isNewline).joined(separator: " ") }
        rows.append(lines + Array(repeating: "", count: columns.count - cells.count))
    }

    /// Aligned columns, two spaces between them, a rule under the titles, no space at the ends of lines.
    var text: String {
        let widths = widths(of: rows)
        let rule = widths.map { String(repeating: "-", count: $0) }
        let lines = [columns.map(\.title), rule] + rows
        return lines.map { cells in
            trimmingEnd(pad(cells, to: widths).joined(separator: "  ")) + "\n"
        }.joined()
    }

    /// A Markdown table, padded so that it reads well as it stands.
    var markdown: String {
        let escaped = rows.map { $0.map { $0.replacing("|", with: "\\|") } }
        // Markdown wants three characters in the line under the titles.
        let widths = widths(of: escaped).map { max($0, 3) }
        let rule = zip(columns, widths).map { column, width in
            column.alignment == .right
                ? String(repeating: "-", count: width - 1) + ":" : String(repeating: "-", count: width)
        }
        let lines = [pad(columns.map(\.title), to: widths), rule] + escaped.map { pad($0, to: widths) }
        return lines.map { "| " + $0.joined(separator: " | ") + " |\n" }.joined()
    }

    private func widths(of rows: [[String]]) -> [Int] {
        columns.indices.map { index in
            rows.reduce(columns[index].title.count) { max($0, $1[index].count) }
        }
    }

    private func pad(_ cells: [String], to widths: [Int]) -> [String] {
        columns.indices.map { index in
            let space = String(repeating: " ", count: widths[index] - cells[index].count)
            return columns[index].alignment == .right ? space + cells[index] : cells[index] + space
        }
    }

    private func trimmingEnd(_ line: String) -> String {
        String(line[..<(line.lastIndex { $0 != " " }.map { line.index(after: $0) } ?? line.startIndex)])
    }
}
