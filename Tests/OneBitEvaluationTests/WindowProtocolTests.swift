import Testing

@testable import OneBitEvaluation

@Suite struct WindowProtocolTests {
    /// Places of the tokens that each window scores, behind the places that it reads as context.
    private func cut(_ windowProtocol: WindowProtocol, _ count: Int, _ length: Int) -> [(
        context: Range<Int>, scored: Range<Int>
    )] {
        windowProtocol.windows(of: count, length: length).map {
            let middle = $0.range.upperBound - $0.scoredCount
            return ($0.range.lowerBound..<middle, middle..<$0.range.upperBound)
        }
    }

    private func expect(
        _ found: [(context: Range<Int>, scored: Range<Int>)], _ expected: [(Range<Int>, Range<Int>)],
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(found.map(\.context) == expected.map(\.0), sourceLocation: sourceLocation)
        #expect(found.map(\.scored) == expected.map(\.1), sourceLocation: sourceLocation)
    }

    @Test("Separate windows score all but their first token, and leave the tail")
    func separate() {
        expect(cut(.separate, 11, 4), [(0..<1, 1..<4), (4..<5, 5..<8)])
        #expect(cut(.separate, 3, 4).isEmpty)
    }

    @Test("The second half's windows score what is behind the middle")
    func secondHalf() {
        expect(cut(.secondHalf, 9, 4), [(0..<3, 3..<4), (4..<7, 7..<8)])
        expect(cut(.secondHalf, 5, 5), [(0..<3, 3..<5)])
    }

    @Test("A sliding window scores each token once, the last window ends with the text")
    func strided() {
        expect(cut(.strided(stride: 2), 9, 4), [(0..<1, 1..<4), (2..<4, 4..<6), (4..<6, 6..<8), (6..<8, 8..<9)])
        // Without overlap a window's first token has nothing to be predicted from.
        expect(cut(.strided(stride: 4), 9, 4), [(0..<1, 1..<4), (4..<5, 5..<8)])
        expect(cut(.strided(stride: 2), 3, 4), [(0..<1, 1..<3)])
        #expect(cut(.strided(stride: 2), 0, 4).isEmpty && cut(.strided(stride: 2), 1, 4).isEmpty)
    }

    @Test("Rolling windows score every token but the prefix once; the last is moved left until it is full")
    func rolling() {
        expect(cut(.rolling, 10, 4), [(0..<1, 1..<5), (4..<5, 5..<9), (5..<9, 9..<10)])
        expect(cut(.rolling, 9, 4), [(0..<1, 1..<5), (4..<5, 5..<9)])
        expect(cut(.rolling, 3, 4), [(0..<1, 1..<3)])
        #expect(cut(.rolling, 1, 4).isEmpty && cut(.rolling, 0, 4).isEmpty)
    }

    @Test("Every protocol that scores the whole text scores each token once, whatever the lengths")
    func wholeText() {
        for count in 1...40 {
            for length in 2...12 {
                let rolling = cut(.rolling, count, length).flatMap(\.scored)
                #expect(rolling == Array(1..<count))
                for stride in 1..<length {
                    let windows = cut(.strided(stride: stride), count, length)
                    #expect(windows.flatMap(\.scored) == Array(1..<count))
                    #expect(windows.allSatisfy { $0.context.count + $0.scored.count <= length })
                }
            }
        }
    }

    @Test("A window's first token gives way to BOS where the placement asks for it")
    func windowBegin() {
        let text = TokenizedText(name: "", sequences: [[9, 1, 2, 3, 4, 5]], windowBegin: 9)
        let windows = WindowProtocol.separate.windows(of: 6, length: 3).map { text.tokens(of: $0, in: 0) }
        #expect(windows.map(\.context) == [[9], [9]])
        #expect(windows.map { Array($0.scored) } == [[1, 2], [4, 5]])
    }

    @Test("Windows that cannot be are refused by name")
    func refusals() throws {
        #expect(throws: WindowError.windowTooShort(window: 1, minimum: 2)) { try WindowPlan(length: 1) }
        #expect(throws: WindowError.windowTooShort(window: 2, minimum: 3)) { try WindowPlan(.secondHalf, length: 2) }
        #expect(throws: WindowError.windowTooShort(window: 0, minimum: 1)) { try WindowPlan(.rolling, length: 0) }
        for stride in [-1, 0, 5] {
            #expect(throws: WindowError.invalidStride(stride: stride, window: 4)) {
                try WindowPlan(.strided(stride: stride), length: 4)
            }
        }
        #expect(throws: WindowError.invalidLimit(limit: 0)) { try WindowPlan(length: 4, limit: 0) }
        let text = TokenizedText(name: "a.txt", sequences: [[0, 1, 0]])
        #expect(throws: WindowError.textTooShort(text: "a.txt", tokens: 3, window: 4)) {
            try WindowPlan(length: 4).windows(of: text, maximum: 16)
        }
        #expect(throws: WindowError.windowTooLong(window: 17, maximum: 16)) {
            try WindowPlan(length: 17).windows(of: text, maximum: 16)
        }
    }

    @Test("The definition names the window and its stride")
    func definition() throws {
        #expect(try WindowPlan(length: 512).definition.contains("windows of 512 tokens"))
        #expect(try WindowPlan(.strided(stride: 128), length: 512).definition.contains("one every 128"))
    }
}
