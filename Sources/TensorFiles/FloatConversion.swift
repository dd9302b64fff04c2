/// Bulk conversion between stored elements and `Float`, by way of an aligned scratch buffer: the bytes of a mapped
/// tensor may have any alignment.
enum FloatConversion {
    /// Elements per step; 64 KiB of scratch stays in the cache.
    private static let chunk = 32_768

    /// Float, half or bfloat16 bytes as `Float`. The count must be a multiple of the element's width.
    static func floats(from bytes: UnsafeRawBufferPointer, _ elementType: ElementType) -> [Float] {
        let count = bytes.count / elementType.byteWidth
        return [Float](unsafeUninitializedCapacity: count) { output, initializedCount in
            switch elementType {
            case .float32:
                UnsafeMutableRawBufferPointer(output).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes.prefix(count * 4))
                )
            case .float16:
                convert(bytes, count: count, to: output, float)
            case .bfloat16:
                // The upper half of a float.
                convert(bytes, count: count, to: output) { Float(bitPattern: UInt32($0) << 16) }
            case .int8, .uint8, .int32, .int64:
                preconditionFailure("callers check isFloat")
            }
            initializedCount = count
        }
    }

    @inline(__always)
    private static func convert(
        _ bytes: UnsafeRawBufferPointer,
        count: Int,
        to output: UnsafeMutableBufferPointer<Float>,
        _ value: (UInt16) -> Float
    ) {
        guard let target = output.baseAddress, let source = bytes.baseAddress else { return }
        withUnsafeTemporaryAllocation(of: UInt16.self, capacity: chunk) { scratch in
            let words = scratch.baseAddress!
            for start in stride(from: 0, to: count, by: chunk) {
                let length = min(chunk, count - start)
                UnsafeMutableRawPointer(words).copyMemory(from: source + start * 2, byteCount: length * 2)
                for index in 0..<length { target[start + index] = value(words[index]) }
            }
        }
    }

    /// Position of the first NaN or infinity.
    static func firstNonFinite(_ values: [Float]) -> Int? {
        values.withUnsafeBufferPointer { values in
            // All exponent bits set: an integer maximum over the magnitudes, which the compiler vectorises.
            var largest: UInt32 = 0
            for value in values { largest = max(largest, value.bitPattern & 0x7FFF_FFFF) }
            return largest < 0x7F80_0000 ? nil : values.firstIndex { !$0.isFinite }
        }
    }

    /// Calls `body` with the stored form of successive runs of values.
    ///
    /// - Returns: the index of the first value that the element type cannot hold (it would become infinite), or nil.
    static func store(
        _ values: UnsafeBufferPointer<Float>,
        as elementType: ElementType,
        _ body: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> Int? {
        switch elementType {
        case .float32:
            try body(UnsafeRawBufferPointer(values))
            return nil
        case .float16:
            // Values from 65520 on round to infinity.
            if let index = values.firstIndex(where: { !($0.magnitude < 65520) }) { return index }
            try store(values, body, half)
            return nil
        case .bfloat16:
            if let index = values.firstIndex(where: { Float(bitPattern: UInt32(bfloat16($0)) << 16).isInfinite }) {
                return index
            }
            try store(values, body, bfloat16)
            return nil
        case .int8, .uint8, .int32, .int64:
            preconditionFailure("callers check isFloat")
        }
    }

    /// A half as a float. Spelt out, because Swift's own conversion is a function call per element where the compiler
    /// may not assume the F16C instructions; these integer steps become vector code.
    @inline(__always)
    static func float(_ half: UInt16) -> Float {
        // Exponent and fraction move up by the difference in fraction width, 23 − 10; the bias differs by 127 − 15 = 112.
        // The multiplication makes subnormal halves normal, exactly.
        let magnitude = Float(bitPattern: UInt32(half & 0x7FFF) << 13) * 0x1p112
        let special: UInt32 = half & 0x7C00 == 0x7C00 ? 0x7F80_0000 : 0
        return Float(bitPattern: magnitude.bitPattern | special | UInt32(half & 0x8000) << 16)
    }

    /// The nearest half, ties to even, of a float of magnitude below 65520.
    @inline(__always)
    static func half(_ value: Float) -> UInt16 {
        let magnitude = value.bitPattern & 0x7FFF_FFFF
        // Normal: bias 127 → 15, half an ulp (less one unless the kept fraction is odd) added, low 13 bits dropped.
        let normal = (magnitude &- (112 << 23) &+ 0xFFF &+ (magnitude >> 13 & 1)) >> 13
        // Subnormal, below 2⁻¹⁴: adding ½ puts the ulp at 2⁻²⁴, the unit of subnormal halves, and rounds there.
        let subnormal = (Float(bitPattern: magnitude) + 0.5).bitPattern &- 0x3F00_0000
        let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
        return UInt16(truncatingIfNeeded: magnitude < 0x3880_0000 ? subnormal : normal) | sign
    }

    /// The nearest half of any float; infinity, or NaN, where there is none.
    @inline(__always)
    static func halfOrInfinity(_ value: Float) -> UInt16 {
        if value.magnitude < 65520 { return half(value) }
        return (value.isNaN ? 0x7E00 : 0x7C00) | UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
    }

    /// Round to nearest, ties to even, of a finite value.
    @inline(__always)
    static func bfloat16(_ value: Float) -> UInt16 {
        let bits = value.bitPattern
        return UInt16((bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
    }

    @inline(__always)
    private static func store(
        _ values: UnsafeBufferPointer<Float>,
        _ body: (UnsafeRawBufferPointer) throws -> Void,
        _ word: (Float) -> UInt16
    ) throws {
        try withUnsafeTemporaryAllocation(of: UInt16.self, capacity: chunk) { scratch in
            for start in stride(from: 0, to: values.count, by: chunk) {
                let length = min(chunk, values.count - start)
                for index in 0..<length { scratch[index] = word(values[start + index]) }
                try body(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: scratch[0..<length])))
            }
        }
    }
}
