/// From blocks of quantized weights to floats, each product and sum rounded once, in the order of the `gguf` package's
/// `dequantize`: the same bits.
///
/// The formats are those of ggml (`ggml-common.h`): d and m are half-precision scales of a block, q a weight's bits. The blocks
/// of 256, "K", have a small scale of their own for every 16 or 32 weights.
extension GGUFTensorType {
    /// Floats of a row.
    ///
    /// - Parameters:
    ///   - blocks: the row's blocks.
    ///   - count: weights of the row, a multiple of ``blockSize``.
    ///   - output: room for as many.
    func dequantize(_ blocks: UnsafePointer<UInt8>, _ count: Int, _ output: UnsafeMutablePointer<Float>) {
        switch self {
        case .f32: each(blocks, count, output, Self.float32)
        case .f16: each(blocks, count, output, Self.float16)
        case .bf16: each(blocks, count, output, Self.bfloat16)
        case .q10: each(blocks, count, output, Self.signs)
        case .q40: each(blocks, count, output, Self.nibbles)
        case .q41: each(blocks, count, output, Self.nibblesWithMinimum)
        case .q50: each(blocks, count, output, Self.fiveBits)
        case .q51: each(blocks, count, output, Self.fiveBitsWithMinimum)
        case .q80: each(blocks, count, output, Self.bytes)
        case .q2K: each(blocks, count, output, Self.twoBitsK)
        case .q3K: each(blocks, count, output, Self.threeBitsK)
        case .q4K: each(blocks, count, output, Self.fourBitsK)
        case .q5K: each(blocks, count, output, Self.fiveBitsK)
        case .q6K: each(blocks, count, output, Self.sixBitsK)
        case .tq10: each(blocks, count, output, Self.ternaryPowers)
        case .tq20: each(blocks, count, output, Self.ternaryPairs)
        }
    }

    private typealias Block = UnsafePointer<UInt8>
    private typealias Weights = UnsafeMutablePointer<Float>

    @inline(__always)
    private func each(_ blocks: Block, _ count: Int, _ output: Weights, _ dequantize: (Block, Weights) -> Void) {
        let (size, bytes) = (blockSize, blockByteCount)
        for index in 0..<count / size { dequantize(blocks + index * bytes, output + index * size) }
    }

    @inline(__always)
    private static func word(_ bytes: Block) -> UInt16 { UInt16(bytes[0]) | UInt16(bytes[1]) << 8 }

    @inline(__always)
    private static func half(_ bytes: Block) -> Float { FloatConversion.float(word(bytes)) }

    @inline(__always)
    private static func doubleWord(_ bytes: Block) -> UInt32 { UInt32(word(bytes)) | UInt32(word(bytes + 2)) << 16 }

    // MARK: Floats

    @inline(__always)
    private static func float32(_ block: Block, _ weights: Weights) {
        weights[0] = Float(bitPattern: doubleWord(block))
    }

    @inline(__always)
    private static func float16(_ block: Block, _ weights: Weights) { weights[0] = half(block) }

    @inline(__always)
    private static func bfloat16(_ block: Block, _ weights: Weights) {
        weights[0] = Float(bitPattern: UInt32(word(block)) << 16)
    }

    // MARK: Blocks of 32 and 128

    /// d (2 bytes), 128 bits: d where the bit is 1, −d where it is 0.
    @inline(__always)
    private static func signs(_ block: Block, _ weights: Weights) {
        let d = half(block)
        for index in 0..<128 { weights[index] = block[2 + index / 8] >> UInt8(index % 8) & 1 == 1 ? d : -d }
    }

    /// d, 16 bytes with weights 0 to 15 in their low and 16 to 31 in their high halves: d (q − 8).
    @inline(__always)
    private static func nibbles(_ block: Block, _ weights: Weights) {
        let d = half(block)
        for index in 0..<16 {
            weights[index] = d * Float(Int32(block[2 + index] & 15) - 8)
            weights[index + 16] = d * Float(Int32(block[2 + index] >> 4) - 8)
        }
    }

    /// d, m, 16 bytes: d q + m.
    @inline(__always)
    private static func nibblesWithMinimum(_ block: Block, _ weights: Weights) {
        let (d, m) = (half(block), half(block + 2))
        for index in 0..<16 {
            weights[index] = d * Float(block[4 + index] & 15) + m
            weights[index + 16] = d * Float(block[4 + index] >> 4) + m
        }
    }

    /// The fifth bits of 32 weights in 4 bytes, the others in 16.
    @inline(__always)
    private static func fiveBitNumbers(_ high: Block, _ low: Block, _ body: (Int, UInt8) -> Void) {
        let high = doubleWord(high)
        for index in 0..<16 {
            body(index, low[index] & 15 | UInt8(truncatingIfNeeded: high >> UInt32(index) & 1) << 4)
            body(index + 16, low[index] >> 4 | UInt8(truncatingIfNeeded: high >> UInt32(index + 16) & 1) << 4)
        }
    }

    /// d, 4 bytes, 16 bytes: d (q − 16).
    @inline(__always)
    private static func fiveBits(_ block: Block, _ weights: Weights) {
        let d = half(block)
        fiveBitNumbers(block + 2, block + 6) { weights[$0] = d * Float(Int32($1) - 16) }
    }

    /// d, m, 4 bytes, 16 bytes: d q + m.
    @inline(__always)
    private static func fiveBitsWithMinimum(_ block: Block, _ weights: Weights) {
        let (d, m) = (half(block), half(block + 2))
        fiveBitNumbers(block + 4, block + 8) { weights[$0] = d * Float($1) + m }
    }

    /// d, 32 signed bytes: d q.
    @inline(__always)
    private static func bytes(_ block: Block, _ weights: Weights) {
        let d = half(block)
        for index in 0..<32 { weights[index] = Float(Int8(bitPattern: block[2 + index])) * d }
    }

    // MARK: Blocks of 256

    /// Two bits of each of 256 weights in 64 bytes: a byte has those of weights l, l + 32, l + 64 and l + 96 of its half.
    @inline(__always)
    private static func twoBits(_ bytes: Block, _ index: Int) -> UInt8 {
        bytes[index / 128 * 32 + index % 32] >> UInt8(index % 128 / 32 * 2) & 3
    }

    /// 16 bytes of scales and minima, 64 bytes, d, m: d s q − m t.
    @inline(__always)
    private static func twoBitsK(_ block: Block, _ weights: Weights) {
        let (d, m) = (half(block + 80), half(block + 82))
        for group in 0..<16 {
            let (scale, minimum) = (d * Float(block[group] & 15), m * Float(block[group] >> 4))
            for index in group * 16..<group * 16 + 16 {
                weights[index] = scale * Float(twoBits(block + 16, index)) - minimum
            }
        }
    }

    /// 32 bytes of third bits, 64 bytes, 12 bytes of scales, d: d (s − 32) q, where q is 4 less without its third bit.
    @inline(__always)
    private static func threeBitsK(_ block: Block, _ weights: Weights) {
        let (scales, d) = (block + 96, half(block + 108))
        for group in 0..<16 {
            let low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4
            let high = scales[8 + group % 4] >> UInt8(group / 4 * 2) & 3
            let scale = d * Float(Int32(low | high << 4) - 32)
            for index in group * 16..<group * 16 + 16 {
                let hasThird = block[index % 32] >> UInt8(index / 32) & 1 == 1
                weights[index] = scale * Float(Int32(twoBits(block + 32, index)) - (hasThird ? 0 : 4))
            }
        }
    }

    /// The scale and the minimum of 32 weights, 6 bits each, of 12 bytes for eight.
    @inline(__always)
    private static func scaleAndMinimum(_ bytes: Block, _ group: Int) -> (scale: Float, minimum: Float) {
        if group < 4 { return (Float(bytes[group] & 63), Float(bytes[group + 4] & 63)) }
        let rest = bytes[group + 4]
        return (
            Float(rest & 15 | bytes[group - 4] >> 2 & 0x30), Float(rest >> 4 | bytes[group] >> 2 & 0x30)
        )
    }

    /// d, m, 12 bytes of scales, 128 bytes: d s q − m t.
    @inline(__always)
    private static func fourBitsK(_ block: Block, _ weights: Weights) {
        let (d, m) = (half(block), half(block + 2))
        for group in 0..<8 {
            let (scale, minimum) = scaleAndMinimum(block + 4, group)
            let (ds, mt) = (d * scale, m * minimum)
            for index in 0..<32 {
                let q = block[16 + group / 2 * 32 + index] >> UInt8(group % 2 * 4) & 15
                weights[group * 32 + index] = ds * Float(q) - mt
            }
        }
    }

    /// d, m, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes: d s q − m t.
    @inline(__always)
    private static func fiveBitsK(_ block: Block, _ weights: Weights) {
        let (d, m) = (half(block), half(block + 2))
        for group in 0..<8 {
            let (scale, minimum) = scaleAndMinimum(block + 4, group)
            let (ds, mt) = (d * scale, m * minimum)
            for index in 0..<32 {
                let low = block[48 + group / 2 * 32 + index] >> UInt8(group % 2 * 4) & 15
                let high = block[16 + index] >> UInt8(group) & 1
                weights[group * 32 + index] = ds * Float(low | high << 4) - mt
            }
        }
    }

    /// 128 bytes, 64 bytes of fifth and sixth bits, 16 signed scales, d: d s (q − 32).
    @inline(__always)
    private static func sixBitsK(_ block: Block, _ weights: Weights) {
        let d = half(block + 208)
        for group in 0..<16 {
            let scale = d * Float(Int8(bitPattern: block[192 + group]))
            for index in group * 16..<group * 16 + 16 {
                let low = block[index / 128 * 64 + index % 64] >> UInt8(index % 128 / 64 * 4) & 15
                weights[index] = scale * Float(Int32(low | twoBits(block + 128, index) << 4) - 32)
            }
        }
    }

    /// 52 bytes, d. A byte is a fraction of 256 in base 3, five digits of which are weights, or four in the last 4 bytes.
    @inline(__always)
    private static func ternaryPowers(_ block: Block, _ weights: Weights) {
        let d = half(block + 52)
        func write(_ first: Int, _ bytes: Range<Int>, digits: Int) {
            var power: UInt8 = 1
            for digit in 0..<digits {
                for index in bytes {
                    // What is behind the wanted digits wraps around.
                    let fraction = UInt16(block[index] &* power)
                    weights[first + digit * bytes.count + index - bytes.lowerBound] =
                        d * Float(Int32((fraction * 3) >> 8) - 1)
                }
                power &*= 3
            }
        }
        write(0, 0..<32, digits: 5)
        write(160, 32..<48, digits: 5)
        write(240, 48..<52, digits: 4)
    }

    /// 64 bytes, d: d (q − 1).
    @inline(__always)
    private static func ternaryPairs(_ block: Block, _ weights: Weights) {
        let d = half(block + 64)
        for index in 0..<256 { weights[index] = d * Float(Int32(twoBits(block, index)) - 1) }
    }
}
