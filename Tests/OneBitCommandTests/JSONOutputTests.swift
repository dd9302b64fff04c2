import Testing

@testable import onebit

@Suite("JSON output")
struct JSONOutputTests {
    private struct Report: Encodable {
        var tokensPerSecond = 12.5
        var loss = Double.infinity
        var accuracy = Float.nan
        var file = "a/b.json"
    }

    @Test("Keys are sorted and in snake case, slashes stay, infinities and NaN are strings")
    func report() throws {
        #expect(
            try jsonText(Report()) == """
                {
                  "accuracy" : "nan",
                  "file" : "a/b.json",
                  "loss" : "inf",
                  "tokens_per_second" : 12.5
                }
                """
        )
    }
}
