// The sign products of every version that this CPU can run, on one core, at the shapes of LLaMA-7B: gigabytes of packed
// signs per second while generating (one token, matrices read from memory) beside the plain reading rate of the same
// bytes, and billions of weights per second in prefill (eight tokens). Medians over rounds that take turns, so that a
// machine that slows down does so for all of them, in processor time.
//
//     swift run -c release --package-path Benchmarks KernelBenchmark [--check FILE] [rounds] [version …]
//
// --check holds the ratios against the least ones that FILE allows, and exits with 1 if one is below.

import CSignKernels
import Foundation

/// The least ratios of a version, by bits of the inputs.
struct Threshold: Decodable {
    /// Rate of reading packed signs while generating, over the rate of reading the same bytes and doing nothing.
    let generatingOverReading: [String: Double]
    /// Weights a second in prefill, over those while generating.
    let prefillOverGenerating: [String: Double]
}

let shapes: [(name: String, rows: Int, columns: Int)] = [
    ("q, k, v, o", 4096, 4096), ("gate, up", 11008, 4096), ("down", 4096, 11008),
]
let prefillTokens = 8

var arguments = Array(CommandLine.arguments.dropFirst())
var thresholds: [String: Threshold]?
if arguments.first == "--check", arguments.count > 1 {
    thresholds = try JSONDecoder().decode(
        [String: Threshold].self, from: Data(contentsOf: URL(filePath: arguments[1])))
    arguments.removeFirst(2)
}
let rounds = arguments.first.flatMap { Int($0) } ?? 7
let wanted = arguments.dropFirst()

/// Processor time of this thread, which alone computes: what others take of the machine's time does not count.
func seconds(_ body: () -> Void) -> Double {
    func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
    let start = now()
    body()
    return max(now() - start, 1e-9)
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

/// Rates of one shape and width of the inputs, a value per round.
struct Rates {
    /// Bytes per second.
    var reading: [Double] = []
    var generating: [Double] = []
    /// Weights per second.
    var prefill: [Double] = []

    init(_ matrices: SignMatrices, isWide: Bool, version: String) {
        let tokens = [1, prefillTokens].map {
            QuantizedTokens(
                matrices.kernels, count: $0, rows: matrices.rows, columns: matrices.columns, isWide: isWide)
        }
        // The portable version is slow: a few matrices tell.
        let count = version == "portable" ? 2 : matrices.count
        let prefillCount = min(count, 4)
        for _ in 0..<rounds {
            reading.append(Double(matrices.byteCount) / seconds { matrices.read() })
            let time = seconds { matrices.multiply(tokens[0], matrices: count) }
            generating.append(Double(count * matrices.matrixBytes) / time)
            let weights = prefillTokens * prefillCount * matrices.rows * matrices.columns
            prefill.append(Double(weights) / seconds { matrices.multiply(tokens[1], matrices: prefillCount) })
        }
    }

    var generatingOverReading: Double { median(zip(generating, reading).map(/)) }

    func prefillOverGenerating(_ matrices: SignMatrices) -> Double {
        let weightsPerByte = Double(matrices.rows * matrices.columns) / Double(matrices.matrixBytes)
        return median(zip(prefill, generating).map { $0 / ($1 * weightsPerByte) })
    }
}

func failure(_ name: String, _ found: Double, least: Double?) -> String? {
    guard let least, found < least else { return nil }
    return "\(name): \(fixed(found, 2)), at least \(fixed(least, 2)) is expected"
}

var failures: [String] = []
print("| kernels | matrix | inputs | reading GB/s | generating GB/s | ratio | prefill Gweights/s | over generating |")
print("|---|---|---|---:|---:|---:|---:|---:|")
var index = 0
while let versionName = sign_kernels_known_name(index) {
    index += 1
    let version = String(cString: versionName)
    guard let kernels = sign_kernels_find(versionName)?.pointee, wanted.isEmpty || wanted.contains(version) else {
        continue
    }
    for shape in shapes {
        let matrices = SignMatrices(kernels, rows: shape.rows, columns: shape.columns)
        for bits in ["10", "16"] {
            let rates = Rates(matrices, isWide: bits == "16", version: version)
            let prefillOverGenerating = rates.prefillOverGenerating(matrices)
            print(
                "| \(version) | \(shape.name): \(shape.rows) × \(shape.columns) | \(bits) bit "
                    + "| \(fixed(median(rates.reading) / 1e9, 1)) | \(fixed(median(rates.generating) / 1e9, 1)) "
                    + "| \(fixed(rates.generatingOverReading, 2)) | \(fixed(median(rates.prefill) / 1e9, 0)) "
                    + "| \(fixed(prefillOverGenerating, 2)) |")
            fflush(nil)
            let name = "\(version), \(shape.name), \(bits) bit"
            let threshold = thresholds?[version]
            failures += [
                failure(
                    "\(name), generating over reading", rates.generatingOverReading,
                    least: threshold?.generatingOverReading[bits]),
                failure(
                    "\(name), prefill over generating", prefillOverGenerating,
                    least: threshold?.prefillOverGenerating[bits]),
            ].compactMap(\.self)
        }
    }
}
if thresholds != nil {
    print(failures.isEmpty ? "\nAll ratios are as expected." : "\nToo slow:\n" + failures.joined(separator: "\n"))
}
exit(failures.isEmpty ? 0 : 1)
