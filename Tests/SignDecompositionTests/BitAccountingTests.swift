import ModelDescription
import SignDecomposition
import Testing

struct BitAccountingTests {
    @Test("A 4096 × 4096 layer takes 1.0073 bits per parameter")
    func paperLayer() {
        let layer = LayerSize(outputs: 4096, inputs: 4096)
        #expect((layer.bitsPerParameter * 10_000).rounded() == 10_073)
        #expect(layer.packedBytes == 4096 * 512 + 2 * 8192)
    }

    @Test(
        "Table 3 of the paper follows from the configurations alone",
        arguments: [
            ("llama-7b", "13.5", "1.3"), ("llama-13b", "26.0", "2.2"), ("llama-30b", "65.1", "4.9"),
            ("llama-65b", "130.6", "9.2"),
        ]
    )
    func table3(shape: String, dense: String, packed: String) throws {
        let size = ModelSize(try ModelConfiguration(shape: shape))
        #expect(gigabytes(size.denseBytes) == dense)
        #expect(gigabytes(size.packedBytes) == packed)
    }

    /// One decimal of 10⁹ bytes.
    private func gigabytes(_ bytes: Int) -> String {
        let tenths = Int((Double(bytes) / 1e8).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    @Test("Rows are padded to whole bytes")
    func padding() {
        #expect(LayerSize(outputs: 3, inputs: 9).signBytes == 6)
    }

    @Test("An unknown shape is refused with those that are known")
    func unknownShape() {
        #expect(throws: ConfigurationError.self) { try ModelConfiguration(shape: "llama-9b") }
    }
}
