// How long a tokenizer takes to load, and how fast it encodes on one core: medians over rounds, in a table.
//
//     swift run -c release --package-path Benchmarks TokenizerBenchmark [rounds] TOKENIZER… TEXT…
//
// TOKENIZER is a model directory; TEXT is a file in UTF-8, encoded in one call, as perplexity encodes it. Speed is in
// megabytes (10⁶ bytes) of UTF-8 per second. The checksum is of the ids: Benchmarks/peers/tokenizers_python.py compares
// speed and checksum with those of Hugging Face's `tokenizers`.

import Foundation
import Tokenization

func seconds<Result>(_ body: () throws -> Result) rethrows -> (time: Double, result: Result) {
    let start = ContinuousClock.now
    let result = try body()
    return ((ContinuousClock.now - start) / .seconds(1), result)
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func fixed(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

/// The ids as the digits of a number in base 31, modulo 2⁶⁴.
func checksum(of ids: [Int]) -> String {
    String(ids.reduce(into: UInt64(0)) { $0 = $0 &* 31 &+ UInt64($1) }, radix: 16)
}

var arguments = CommandLine.arguments.dropFirst()
let rounds = arguments.first.flatMap { Int($0) }.map { max(1, $0) } ?? 7
if arguments.first.flatMap({ Int($0) }) != nil { arguments.removeFirst() }
var directories: [URL] = []
var texts: [(name: String, text: String)] = []
for argument in arguments {
    let url = URL(filePath: argument)
    if try url.resourceValues(forKeys: [.isDirectoryKey]).isDirectory == true {
        directories.append(url)
    } else {
        texts.append((url.lastPathComponent, try String(contentsOf: url, encoding: .utf8)))
    }
}

print("| tokenizer | ids | loads in s | text | bytes per id | encodes MB/s | checksum |")
print("|---|---:|---:|---|---:|---:|---|")
for directory in directories {
    let loads = try (0..<rounds).map { _ in try seconds { try loadTokenizer(from: directory) } }
    let tokenizer = loads[0].result
    for (name, text) in texts {
        let encodings = try (0..<rounds).map { _ in try seconds { try tokenizer.encode(text, addSpecialTokens: false) }
        }
        let byteCount = Double(text.utf8.count)
        let ids = encodings[0].result
        print(
            "| \(directory.lastPathComponent) | \(tokenizer.vocabularySize) | \(fixed(median(loads.map(\.time)), 3)) "
                + "| \(name) | \(fixed(byteCount / Double(max(1, ids.count)), 2)) "
                + "| \(fixed(byteCount / 1e6 / median(encodings.map(\.time)), 1)) | \(checksum(of: ids)) |")
        fflush(nil)
    }
}
