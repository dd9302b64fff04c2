// HTMLReports: plots, tables and numbers as one page of HTML that needs no other file and no address. May import JSON.

import Foundation
import JSON

/// Text as HTML.
package enum HTML {
    /// Text that is text and nothing else, between tags and in quoted attributes.
    package static func escaped(_ text: String) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            // Control characters are no text of HTML; a replacement shows that there was one.
            case "\u{00}"..."\u{08}", "\u{0B}", "\u{0C}", "\u{0E}"..."\u{1F}", "\u{7F}"..."\u{9F}":
                escaped += "\u{FFFD}"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    /// Rows of text under their titles; a wide table scrolls by itself.
    ///
    /// - Parameter marks: whether to emphasize a row, by its number.
    package static func table(
        _ titles: [String], _ rows: [[String]], marks: (Int) -> Bool = { _ in false }
    ) -> String {
        func cells(_ texts: [String], _ tag: String) -> String {
            // A figure and its error stay on one line.
            texts.map { "<\(tag)>\(escaped($0.replacing(" ± ", with: "\u{A0}±\u{A0}")))</\(tag)>" }.joined()
        }
        let body = rows.enumerated().map { index, row in
            "<tr\(marks(index) ? " class=\"differs\"" : "")>\(cells(row, "td"))</tr>"
        }
        return """
            <div class="scroll"><table><thead><tr>\(cells(titles, "th"))</tr></thead>
            <tbody>\(body.joined(separator: "\n"))</tbody></table></div>
            """
    }

    /// Names beside the colors of their series.
    package static func legend(_ names: [(series: Int, text: String)]) -> String {
        let items = names.map { series, text in
            "<li><svg class=\"chip\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"\(ReportStyle.fill(series))\" "
                + "width=\"10\" height=\"10\" rx=\"2\"/></svg>\(escaped(text))</li>"
        }
        return "<ul class=\"legend\">\(items.joined())</ul>"
    }

    /// A table that opens on demand.
    package static func details(_ summary: String, _ content: String) -> String {
        "<details><summary>\(escaped(summary))</summary>\(content)</details>"
    }

    /// JSON as a block of data, which browsers do not run. Nothing in it can end the element (HTML, section 4.12.1.3).
    package static func dataBlock(json: String) -> String {
        let text = json.replacing("<", with: "\\u003c").replacing(">", with: "\\u003e").replacing("&", with: "\\u0026")
        return "<script type=\"application/json\" id=\"numbers\">\(text)</script>"
    }
}
