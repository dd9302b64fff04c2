import Testing

@testable import OneBitEvaluation

@Suite struct PythonRandomTests {
    /// `random.seed(seed)`, `randint(0, n - 1)` for each bound, 700 times `randint(0, 999)`, and `randint(0, 999999)`, of
    /// Python 3.11.
    @Test(
        "The numbers are Python's, over several refills of the state",
        arguments: [
            (0, [6, 215, 2653, 0, 2_087_043_557, 1_739_178_872], 846258),
            (1234, [7, 59, 490, 0, 150_006_740, 2_884_343_186], 962914),
            (4_294_967_301, [2, 248, 18513, 0, 1_524_997_693, 2_696_275_445], 468670),
        ] as [(UInt64, [Int], Int)])
    func numbers(seed: UInt64, first: [Int], later: Int) {
        var random = PythonRandom(seed: seed)
        let bounds = [10, 256, 45576, 1, 1 << 31, (1 << 32) - 1]
        #expect(bounds.map { random.integer(below: $0) } == first)
        for _ in 0..<700 { _ = random.integer(below: 1000) }
        #expect(random.integer(below: 1_000_000) == later)
    }
}
