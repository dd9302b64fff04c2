import Foundation
import Testing

/// Checks that a report is one whole page: tags balanced, nothing in it that loads, runs or leads elsewhere, and its numbers as
/// JSON.
///
/// - Returns: The numbers.
@discardableResult
package func checkReportPage(
    _ page: String, sourceLocation: SourceLocation = #_sourceLocation
) throws -> [String: Any] {
    #expect(page.hasPrefix("<!doctype html>"), sourceLocation: sourceLocation)
    let opening = "<script type=\"application/json\" id=\"numbers\">"
    let block = try #require(page.firstRange(of: opening), sourceLocation: sourceLocation)
    let end = try #require(page[block.upperBound...].firstRange(of: "</script>"), sourceLocation: sourceLocation)
    let numbers = try JSONSerialization.jsonObject(with: Data(page[block.upperBound..<end.lowerBound].utf8))
    // What a string of the JSON says is no markup: nothing in it can end the block.
    let markup = page[..<block.lowerBound] + page[end.upperBound...]
    let style = try #require(markup.firstMatch(of: /<style>([^<]*)<\/style>/)?.1, sourceLocation: sourceLocation)
    #expect(style.contains("prefers-color-scheme:dark"), sourceLocation: sourceLocation)
    for forbidden in ["http", "url(", "@import"] {
        #expect(!style.contains(forbidden), "\(forbidden)", sourceLocation: sourceLocation)
    }
    var open: [Substring] = []
    for tag in markup.matches(of: /<(\/?)([a-z0-9]+)([^>]*)>/) {
        // Values are text; what names attributes is not.
        let attributes = tag.3.replacing(/"[^"]*"/, with: "")
        #expect(!attributes.contains(/src|href|\bon|style/), "\(tag.0)", sourceLocation: sourceLocation)
        #expect(!["script", "iframe", "img", "link", "a"].contains(tag.2), sourceLocation: sourceLocation)
        if ["meta", "line", "polyline", "circle", "rect"].contains(tag.2) { continue }
        if tag.1.isEmpty {
            open.append(tag.2)
        } else {
            #expect(open.popLast() == tag.2, sourceLocation: sourceLocation)
        }
    }
    #expect(open.isEmpty, "\(open)", sourceLocation: sourceLocation)
    return try #require(numbers as? [String: Any], sourceLocation: sourceLocation)
}
