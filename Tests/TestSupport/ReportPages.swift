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
    for forbidden in ["http:", "https:", " src=", " href=", "url(", "@import", "<script", "<iframe", " onerror=\""] {
        #expect(!markup.contains(forbidden), "\(forbidden)", sourceLocation: sourceLocation)
    }
    #expect(page.contains("prefers-color-scheme:dark"), sourceLocation: sourceLocation)
    var open: [Substring] = []
    for tag in markup.matches(of: /<(\/?)([a-z0-9]+)([^>]*)>/) {
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
