// The sign products of every version that this CPU can run, on one core, at the shapes of LLaMA-7B: gigabytes of packed
// signs per second while generating (one token, matrices read from memory) beside the plain reading rate of the same
// bytes, and billions of weights per second in prefill (eight tokens). Medians over rounds that take turns, so that a
// machine that slows down does so for all of them.
//
//     swift run -c release KernelBenchmark [rounds] [version …]

import CSignKernels
import Foundation

let rounds = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 7
let wanted = CommandLine.arguments.dropFirst(2)
let shapes: [(name: String, rows: Int, columns: Int)] = [
    ("q, k, v, o", 4096, 4096), ("gate, up", 11008, 4096), ("down", 4096, 11008),
]
let prefillTokens = 8

func seconds(_ body: () -> Void) -> Double {
    let start = ContinuousClock.now
    body()
    return (ContinuousClock.now - start) / .seconds(1)
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

print("| kernels | matrix | inputs | reading GB/s | generating GB/s | share | prefill Gweights/s |")
print("|---|---|---|---:|---:|---:|---:|")
var index = 0
while let versionName = sign_kernels_known_name(index) {
    index += 1
    let version = String(cString: versionName)
    guard let kernels = sign_kernels_find(versionName)?.pointee, wanted.isEmpty || wanted.contains(version) else {
        continue
    }
    for shape in shapes {
        let matrices = SignMatrices(kernels, rows: shape.rows, columns: shape.columns)
        for isWide in [false, true] {
            let tokens = [1, prefillTokens].map {
                QuantizedTokens(kernels, count: $0, rows: shape.rows, columns: shape.columns, isWide: isWide)
            }
            // The portable version is slow: a few matrices tell.
            let count = version == "portable" ? 2 : matrices.count
            let prefillCount = min(count, 4)
            var reading: [Double] = []
            var generating: [Double] = []
            var prefill: [Double] = []
            for _ in 0..<rounds {
                reading.append(Double(matrices.byteCount) / seconds { matrices.read() })
                let time = seconds { matrices.multiply(tokens[0], matrices: count) }
                generating.append(Double(count * matrices.matrixBytes) / time)
                let weights = prefillTokens * prefillCount * shape.rows * shape.columns
                prefill.append(Double(weights) / seconds { matrices.multiply(tokens[1], matrices: prefillCount) })
            }
            print(
                "| \(version) | \(shape.name): \(shape.rows) × \(shape.columns) | \(isWide ? 16 : 8) bit "
                    + "| \(fixed(median(reading) / 1e9, 1)) | \(fixed(median(generating) / 1e9, 1)) "
                    + "| \(fixed(median(zip(generating, reading).map(/)), 2)) | \(fixed(median(prefill) / 1e9, 0)) |")
            fflush(nil)
        }
    }
}
