import SignDecomposition
import Testing

struct SignMatrixTests {
    @Test("Bit j of byte k is column 8k+j, least significant first, and 1 means −1")
    func bitOrder() throws {
        // The example of the release: these eight signs are the int8 −78.
        let signs = try SignMatrix(signsOf: [1, -1, 1, 1, -1, -1, 1, -1], rows: 1, columns: 8)
        #expect(signs.bytes == [UInt8(bitPattern: -78)])
        let two = try SignMatrix(signsOf: [-1, 1, 1, 1, 1, 1, 1, 1, 1, -1], rows: 1, columns: 10)
        #expect(two.bytes == [0b0000_0001, 0b0000_0010])
    }

    @Test("Zero of either sign is +1, and infinities have a sign")
    func zero() throws {
        let signs = try SignMatrix(
            signsOf: [0, -0.0, .infinity, -.infinity, -Float.leastNonzeroMagnitude],
            rows: 1,
            columns: 5
        )
        #expect((0..<5).map { signs[0, $0] } == [1, 1, 1, -1, -1])
    }

    @Test("NaN has no sign and is refused with its place")
    func notANumber() {
        #expect(throws: DecompositionError.notANumber(row: 1, column: 2)) {
            try SignMatrix(signsOf: [1, 2, 3, 4, 5, .nan], rows: 2, columns: 3)
        }
    }

    @Test("Packing and unpacking are inverse for every width and tail")
    func roundTrip() throws {
        var generator = SystemRandomNumberGenerator()
        for columns in Array(0...17) + [31, 63, 64, 65, 172] {
            for rows in [0, 1, 3, 8] {
                let values = (0..<rows * columns).map { _ in Float.random(in: -1...1, using: &generator) }
                let signs = try SignMatrix(signsOf: values, rows: rows, columns: columns)
                #expect(signs.bytes.count == rows * ((columns + 7) / 8))
                #expect(signs.floats() == values.map { $0 < 0 ? -1 : 1 })
                let again = try signs.bytes.withUnsafeBytes { try SignMatrix(packed: $0, rows: rows, columns: columns) }
                #expect(again == signs)
                for row in 0..<rows {
                    for column in 0..<columns {
                        #expect(signs[row, column] == (values[row * columns + column] < 0 ? -1 : 1))
                    }
                }
            }
        }
    }

    @Test("Counts that do not fit, and sizes that overflow, are refused")
    func wrongCounts() {
        for (rows, columns) in [(2, 3), (-1, -4), (Int.max, 4), (4, Int.max)] {
            #expect(throws: DecompositionError.self) {
                try SignMatrix(signsOf: [1, 2, 3, 4], rows: rows, columns: columns)
            }
            #expect(throws: DecompositionError.self) {
                try [UInt8](repeating: 0, count: 3).withUnsafeBytes {
                    try SignMatrix(packed: $0, rows: rows, columns: columns)
                }
            }
        }
    }

    @Test("Bits beyond the last column are refused: the file was packed otherwise")
    func padding() {
        #expect(throws: DecompositionError.paddingNotZero(row: 1)) {
            try [UInt8]([0, 0b1000]).withUnsafeBytes { try SignMatrix(packed: $0, rows: 2, columns: 3) }
        }
    }
}
