import Testing

@testable import onebit

@Suite("Figures with units")
struct QuantityTests {
    @Test(
        "Bytes read in decimal units with one decimal",
        arguments: [
            (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
            (1_300_000, "1.3 MB"), (13_476_838_400, "13.5 GB"), (9_200_000_000_000, "9.2 TB"),
            (9_223_372_036_854_775_807, "9223372.0 TB"),
        ]
    )
    func bytes(count: Int, text: String) {
        #expect(Quantity.bytes(count) == text)
    }

    @Test(
        "Counts are shortened, small ones not",
        arguments: [(512, "512"), (259_968, "260.0 k"), (6_738_415_616, "6.7 G")]
    )
    func counts(count: Int, text: String) {
        #expect(Quantity.count(count) == text)
    }

    @Test(
        "Durations read in two units at most, and never as 60 seconds",
        arguments: [
            (-1.0, "0.0 s"), (0, "0.0 s"), (4.23, "4.2 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
            (134, "2 min 14 s"), (3599.7, "1 h 00 min"), (7500, "2 h 05 min"), (273_600, "3 d 04 h"),
            (1e12, "more than 30 years"), (.infinity, "more than 30 years"),
        ]
    )
    func durations(seconds: Double, text: String) {
        #expect(Quantity.duration(seconds: seconds) == text)
    }

    @Test(
        "Rates have three significant digits and survive any number",
        arguments: [
            (0.0, "0"), (-3, "0"), (.nan, "0"), (.infinity, "0"), (0.00042, "0.00042"), (0.0421, "0.042"),
            (2.314, "2.31"), (9.996, "10.0"), (48.12, "48.1"), (99.96, "100"), (1204.4, "1,204"),
            (1e18, "1,000,000,000,000,000"),
        ]
    )
    func rates(perSecond: Double, text: String) {
        #expect(Quantity.rate(perSecond) == text)
    }

    @Test(
        "Thousands are separated",
        arguments: [
            (0, "0"), (999, "999"), (1000, "1,000"), (-22_803, "-22,803"), (1_234_567, "1,234,567"),
            (Int.min, "-9,223,372,036,854,775,808"),
        ]
    )
    func grouping(value: Int, text: String) {
        #expect(Quantity.grouped(value) == text)
    }
}
