import Foundation
import JSON
import TensorFiles

/// The samples of a stopped synthesis that are not in its file yet: those under way, and those that wait for one before
/// them. Lines of JSON, replaced as a whole.
struct UnfinishedSamples {
    struct Sample: Codable {
        let number: Int
        let isFinished: Bool
        let tokens: [Int]
    }

    let file: URL
    private(set) var samples: [Sample] = []

    init(file: URL) { self.file = file }

    /// Reads what a run has left of the samples from `first` on. A file that is not there, or not such a file, costs the
    /// time to write these samples again and nothing else.
    mutating func load(from first: Int, accepting isValid: (Sample) -> Bool) {
        let lines = (try? Data(contentsOf: file))?.split(separator: UInt8(ascii: "\n")) ?? []
        var numbers: Set<Int> = []
        samples = lines.compactMap { try? JSONDecoder().decode(Sample.self, from: $0) }
            .filter { $0.number >= first && isValid($0) && numbers.insert($0.number).inserted }
    }

    mutating func replace(by samples: [Sample]) throws {
        self.samples = samples
        var lines = Data()
        for sample in samples.sorted(by: { $0.number < $1.number }) {
            lines += try JSONEncoder.sorted.encode(sample) + Data("\n".utf8)
        }
        try writeAtomically(lines, to: file)
    }

    func remove() throws {
        if FileManager.default.fileExists(atPath: file.path) { try FileManager.default.removeItem(at: file) }
    }
}
