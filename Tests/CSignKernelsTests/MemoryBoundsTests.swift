import CSignKernels
import Foundation
import Testing

/// Every kernel reads and writes exactly what its contract says: all inputs and outputs end at a guard page, at widths that
/// are a multiple of nothing. An access beyond the end ends the process.
@Suite struct MemoryBoundsTests {
    static let widths = [1, 2, 3, 5, 7, 11, 13, 17, 23, 29, 31, 37, 40, 47, 53, 67, 97, 131, 251, 1009]

    @Test("Quantized inputs are written up to the padded width, whatever it is", arguments: widths)
    func quantize(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        let x = GuardedMemory(generator.floats(columns, in: -5...5))
        let g = GuardedMemory(generator.floats(columns))
        let whole = (columns + 47) / 48 * 48
        for kernels in availableKernels() {
            for padded in Set([columns, columns + 1, whole]).sorted() {
                let words = GuardedMemory<Int16>(count: padded, fill: 99)
                _ = kernels.pointee.quantize_16bit(x.pointer, g.pointer, columns, words.pointer, padded)
                let outliers = GuardedMemory<Int16>(count: padded, fill: 99)
                _ = kernels.pointee.quantize_10bit(x.pointer, g.pointer, columns, outliers.pointer, padded)
                #expect(outliers.array.dropFirst(columns).allSatisfy { $0 == 0 })
                #expect(words.array.dropFirst(columns).allSatisfy { $0 == 0 })
                #expect(words.array.contains { $0.magnitude == 32767 })
            }
        }
    }

    @Test("Packing and sign products stay within bits, layout, look-up tables and outputs", arguments: widths)
    func signProduct(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        let bytesPerRow = (columns + 7) / 8
        let padded = (columns + 47) / 48 * 48
        for rows in [1, 63, 65, 130, 257] {
            let bits = GuardedMemory((0..<rows * bytesPerRow).map { _ in UInt8.random(in: 0...255, using: &generator) })
            let x = GuardedMemory(generator.floats(columns))
            let g = GuardedMemory([Float](repeating: 1, count: columns))
            for kernels in availableKernels() {
                let layout = kernels.pointee.layout.pointee
                let tiles = (rows + layout.tile_rows - 1) / layout.tile_rows
                let packed = GuardedMemory<UInt8>(
                    count: layout.byte_count(rows, columns, tiles), fill: 0, alignment: Int(SIGN_KERNELS_ALIGNMENT))
                layout.pack(
                    sign_kernels_matrix(bits: bits.pointer, bytes_per_row: bytesPerRow, rows: rows, columns: columns),
                    0, tiles, packed.pointer)
                let matrix = sign_kernels_packed_matrix(bytes: packed.pointer, rows: rows, columns: columns)
                let quads = (columns + 4 * layout.group_columns - 1) / (4 * layout.group_columns)
                let sums = GuardedMemory<Int32>(count: rows, fill: 0)
                let wideSums = GuardedMemory<Int32>(count: rows, fill: 0)

                let words = GuardedMemory<Int16>(count: padded, fill: 0)
                let tables = GuardedMemory<UInt8>(
                    count: kernels.pointee.lut_bytes_10bit(columns), fill: 0, alignment: Int(SIGN_KERNELS_ALIGNMENT))
                var quantized = kernels.pointee.quantize_10bit(x.pointer, g.pointer, columns, words.pointer, padded)
                kernels.pointee.build_luts_10bit(words.pointer, &quantized, 0, quads, tables.pointer)
                kernels.pointee.sign_product_10bit(
                    matrix, 0, tiles, tables.pointer, tables.count, &quantized, 1, sums.pointer, rows)

                let wideWords = GuardedMemory<Int16>(count: padded, fill: 0)
                let wideTables = GuardedMemory<UInt8>(
                    count: kernels.pointee.lut_bytes_16bit(columns), fill: 0, alignment: Int(SIGN_KERNELS_ALIGNMENT))
                quantized = kernels.pointee.quantize_16bit(x.pointer, g.pointer, columns, wideWords.pointer, padded)
                kernels.pointee.build_luts_16bit(wideWords.pointer, &quantized, 0, quads, wideTables.pointer)
                kernels.pointee.sign_product_16bit(
                    matrix, 0, tiles, wideTables.pointer, wideTables.count, &quantized, 1, wideSums.pointer, rows)

                let h = GuardedMemory([Float](repeating: 0.5, count: rows))
                let y = GuardedMemory<Float>(count: rows, fill: 0)
                kernels.pointee.dequantize(sums.pointer, 2, h.pointer, rows, y.pointer)
                #expect(y.array == sums.array.map { Float($0) })
                #expect(sums.array.last == product(bits.array.suffix(bytesPerRow), words.array.prefix(columns)))
                #expect(wideSums.array.last == product(bits.array.suffix(bytesPerRow), wideWords.array.prefix(columns)))
            }
        }
    }

    /// Σ_c S[c] · q[c] of one row.
    private func product(_ bits: ArraySlice<UInt8>, _ q: ArraySlice<some BinaryInteger>) -> Int32 {
        q.indices.reduce(0) { sum, column in
            let isNegative = bits[bits.startIndex + column / 8] >> (column % 8) & 1 == 1
            return isNegative ? sum - Int32(q[column]) : sum + Int32(q[column])
        }
    }

    @Test("Float products and conversions stay within weights, inputs and outputs", arguments: widths)
    func floatProduct(columns: Int) {
        var generator = TestGenerator(state: UInt64(columns))
        let (rows, tokens) = (7, 5)
        let x = GuardedMemory(generator.floats(tokens * columns))
        let types: [(sign_kernels_float_type, Int)] = [
            (SIGN_KERNELS_FLOAT32, 4), (SIGN_KERNELS_FLOAT16, 2), (SIGN_KERNELS_BFLOAT16, 2), (SIGN_KERNELS_INT8, 1),
        ]
        for kernels in availableKernels() {
            for (type, width) in types {
                let weights = GuardedMemory<UInt8>(count: rows * columns * width, fill: 1)
                for tokens in [1, tokens] where type != SIGN_KERNELS_INT8 {
                    let y = GuardedMemory<Float>(count: tokens * rows, fill: .nan)
                    // Inputs that end at the guard page.
                    let input = x.pointer + (x.count - tokens * columns)
                    kernels.pointee.float_product(
                        weights.pointer, type, columns, 0, rows, input, columns, tokens, y.pointer, rows)
                    #expect(y.array.allSatisfy { $0.isFinite })
                }
                let widened = GuardedMemory<Float>(count: weights.count / width, fill: .nan)
                kernels.pointee.widen(weights.pointer, type, widened.count, widened.pointer)
                #expect(Set(widened.array).count == 1 && widened.array[0].isFinite)
            }
            let halves = GuardedMemory<UInt16>(count: columns, fill: 0)
            kernels.pointee.narrow_float16(x.pointer + (x.count - columns), columns, halves.pointer)
            #expect(halves.array.last == Float16(x.array.last!).bitPattern)
        }
    }

    @Test("Norms, pointwise kernels and rotation stay within their rows", arguments: widths)
    func pointwise(count: Int) {
        var generator = TestGenerator(state: UInt64(count))
        let x = GuardedMemory(generator.floats(count))
        let w = GuardedMemory(generator.floats(count))
        for kernels in availableKernels() {
            func check(_ body: (sign_kernels_table, UnsafeMutablePointer<Float>) -> Void) {
                let y = GuardedMemory<Float>(count: count, fill: 1)
                body(kernels.pointee, y.pointer)
                #expect(y.array.allSatisfy { $0.isFinite })
            }
            check { _ = $0.rms_norm(x.pointer, w.pointer, count, 1e-5, $1) }
            check { _ = $0.layer_norm(x.pointer, count, 1e-5, $1) }
            check { $0.add(x.pointer, count, $1) }
            check { $0.scale(x.pointer, w.pointer, count, $1) }
            check { $0.relu(x.pointer, count, $1) }
            check { $0.swiglu(x.pointer, w.pointer, count, $1) }
            check { $0.soft_cap(x.pointer, count, 1, 2, $1) }
            let head = GuardedMemory(generator.floats(2 * count))
            kernels.pointee.rotate_half(head.pointer, 2 * count, x.pointer, w.pointer)
            #expect(head.array.allSatisfy { $0.isFinite })
        }
    }

    @Test("A checksum and a reading test read the bytes that they were given", arguments: [0, 1, 63, 64, 65, 257])
    func reading(count: Int) {
        let bytes = GuardedMemory<UInt8>(count: max(count, 1), fill: 7)
        let same = [UInt8](repeating: 7, count: count)
        #expect(
            sign_kernels_checksum(bytes.pointer + (bytes.count - count), count) == sign_kernels_checksum(same, count))
        let whole = GuardedMemory<UInt8>(count: 256 * (count / 64 + 1), fill: 7)
        for kernels in availableKernels() { _ = kernels.pointee.read(whole.pointer, whole.count) }
    }
}
