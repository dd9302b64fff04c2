import Foundation

/// A part of a report, with a name by which it can be replaced in a page that is shown.
package struct ReportSection: Sendable, Hashable {
    package let id: String
    package let html: String

    /// - Parameters:
    ///   - id: letters and hyphens.
    ///   - html: whole elements, all strings in them escaped.
    package init(_ id: String, _ html: String) {
        self.id = id
        self.html = html
    }

    /// Plots that have something to show, under a heading.
    package init(_ id: String, title: String?, figures: [String?]) {
        let figures = figures.compactMap(\.self)
        let heading = title.map { "<h2>\(HTML.escaped($0))</h2>\n" } ?? ""
        self.init(
            id, figures.isEmpty ? "" : heading + "<div class=\"plots\">\(figures.joined(separator: "\n"))</div>")
    }
}

/// A page of sections: one file, with its style in it.
package struct ReportPage: Sendable {
    /// What it is, and of what.
    package var heading: String
    package var subject: String
    package var sections: [ReportSection]
    /// The figures for programs, as JSON.
    package var numbers: String?

    package init(heading: String, subject: String, sections: [ReportSection], numbers: String? = nil) {
        self.heading = heading
        self.subject = subject
        self.sections = sections
        self.numbers = numbers
    }

    /// The page as a file, which forbids itself to load or to run anything.
    package var html: String {
        html(
            title: "\(heading): \(subject)",
            head: """
                <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
                """,
            opening: "<h1>\(HTML.escaped(heading))</h1>", closing: numbers.map(HTML.dataBlock) ?? "")
    }

    /// The page as a server sends it, with a script that keeps it up to date; its headers say what it may do.
    ///
    /// - Parameters:
    ///   - title: of the browser's window.
    ///   - picture: name of what the sections show, which the script begins with.
    ///   - age: seconds since what they show was written.
    package func liveHTML(title: String, picture: String, age: Double?, script: String) -> String {
        let age = age.map { " data-age=\"\(Int($0))\"" } ?? ""
        return html(
            title: title, head: "",
            opening: """
                <h1>\(HTML.escaped(heading)) <small id="connection" role="status">connecting</small> \
                <small id="age" data-picture="\(HTML.escaped(picture))"\(age)></small></h1>
                """, closing: "<script>\(script)</script>")
    }

    private func html(title: String, head: String, opening: String, closing: String) -> String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        \(head)
        <title>\(HTML.escaped(title))</title>
        <style>\(ReportStyle.css)</style>
        </head>
        <body>
        \(opening)
        \(sections.map { "<section id=\"\($0.id)\">\($0.html)</section>" }.joined(separator: "\n"))
        \(closing)
        </body>
        </html>

        """
    }
}

/// How reports look: dark or light as their reader's system is, on wide windows and on phones.
package enum ReportStyle {
    private static let colors = [
        ("#1f6fb4", "#6cb6ff"), ("#c4511d", "#ff9a66"), ("#2f8f3e", "#6fd07f"), ("#8a4fbf", "#c59bf0"),
        ("#a8871a", "#e3c558"), ("#b3336b", "#f58ab8"), ("#3d8b8b", "#74cfcf"), ("#6b6b6b", "#b5b5b5"),
        ("#735035", "#c9a083"),
    ]

    /// The classes of a series: a run, a model. More than there are colors share them.
    package static func line(_ series: Int) -> String { "run\(series % colors.count)" }
    package static func fill(_ series: Int) -> String { "fill\(series % colors.count)" }
    package static func text(_ series: Int) -> String { "text\(series % colors.count)" }

    package static let css: String = {
        func variables(_ color: (Int) -> String) -> String {
            ":root{" + colors.indices.map { "--c\($0):\(color($0))" }.joined(separator: ";") + "}"
        }
        let series = colors.indices.map { index in
            ".run\(index){stroke:var(--c\(index))}.run\(index).dot,.fill\(index){fill:var(--c\(index))}"
                + ".text\(index),.runs tbody tr:nth-child(\(colors.count)n+\(index + 1)) td:first-child{color:var(--c\(index))}"
        }
        return """
            :root{color-scheme:light dark;--text:#1d1f23;--soft:#5c636e;--line:#d9dce1;--page:#fff;--shade:#f4f5f7}
            \(variables { colors[$0].0 })
            @media (prefers-color-scheme:dark){
            :root{--text:#e6e8eb;--soft:#9aa3af;--line:#3a3f47;--page:#16181c;--shade:#21242a}
            \(variables { colors[$0].1 })}
            body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page);max-width:1200px;margin:0 auto;padding:16px}
            h1{font-size:1.5em;overflow-wrap:anywhere}h2{font-size:1.2em;margin:1.6em 0 .5em}h3{font-size:1em;margin:.8em 0 .2em}
            .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:16px}
            figure{margin:0;min-width:0}figcaption{font-weight:600}small,.caption{color:var(--soft);font-weight:400}.caption{margin:.6em 0 0}
            svg{width:100%;height:auto;display:block}
            polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}.faint{stroke-width:1;opacity:.3}.reference{stroke-dasharray:5 4;opacity:.7}
            .grid{stroke:var(--line);stroke-width:1}.whisker{stroke:var(--text);stroke-width:1.5}
            text{fill:var(--text);font-size:15px}.tick{fill:var(--soft)}
            @media (max-width:600px){text{font-size:19px}}
            table{border-collapse:collapse;font-variant-numeric:tabular-nums}
            th,td{text-align:left;padding:3px 14px 3px 0;border-bottom:1px solid var(--line);overflow-wrap:break-word;min-width:4em}#settings td{overflow-wrap:anywhere}
            th{color:var(--soft);font-weight:600}td:first-child{white-space:nowrap}.differs td{font-weight:600;background:var(--shade)}
            .scroll{overflow-x:auto}
            summary{color:var(--soft);cursor:pointer}
            pre{background:var(--shade);padding:10px;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0}
            .bar{height:22px;border-radius:4px}.progress{height:8px;border-radius:4px;background:var(--shade)}
            .legend{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px;margin:.4em 0;overflow-wrap:anywhere}
            .chip{display:inline-block;width:.8em;height:.8em;margin-right:.4em}
            .state{display:inline-block;padding:0 .6em;border-radius:1em;background:var(--shade);font-size:.8em;font-weight:600}
            .figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(130px,1fr));gap:10px;margin:.6em 0}
            .figures div{background:var(--shade);border-radius:6px;padding:6px 10px}
            .figures dt{color:var(--soft);font-size:.85em}.figures dd{margin:0;font-size:1.15em;font-variant-numeric:tabular-nums}
            \(series.joined(separator: "\n"))
            """
    }()
}
