import Foundation
import ResumableRuns
import SignDecomposition

/// A file to train on, and its share where there are several.
public struct CorpusSource: Sendable, Hashable {
    public var file: URL
    /// Share of the segments, relative to the other files' weights; nil for a share as large as its part of the tokens.
    public var weight: Double?

    public init(file: URL, weight: Double? = nil) {
        self.file = file
        self.weight = weight
    }

    /// What the files of a run are, by the keys of a run's identity: digests of their contents, and weights.
    ///
    /// - Throws: `FileError`, `CancellationError`.
    public static func identity(of sources: [CorpusSource]) throws -> [String: String] {
        TrainingCorpus.identity(
            try sources.map { (digest: try ContentDigest(of: $0.file).description, weight: $0.weight) })
    }
}

/// What a model is trained on: one stream of tokens, or a mixture of several.
public struct TrainingCorpus: Sendable {
    /// One of a mixture's streams.
    public struct Part: Sendable {
        public let tokens: any TokenStream
        /// Share of the segments, relative to the other parts' weights; nil for a share as large as its part of the tokens.
        public let weight: Double?

        public init(_ tokens: any TokenStream, weight: Double? = nil) {
            self.tokens = tokens
            self.weight = weight
        }
    }

    let parts: [Part]

    /// - Throws: `RunError.invalidSetting` without a part, for a weight that is not above zero,
    ///   and where some parts have weights and others have none.
    public init(_ parts: [Part]) throws {
        let weights = parts.map(\.weight)
        guard !parts.isEmpty, weights.allSatisfy({ $0 == nil }) || weights.allSatisfy({ $0 != nil }) else {
            throw RunError.invalidSetting(
                name: "corpus", value: "\(parts.count) files, \(weights.count { $0 != nil }) with weights",
                expected: "a file, and weights for all or for none")
        }
        for weight in weights.compactMap(\.self) where !(weight > 0 && weight.isFinite) {
            throw RunError.invalidSetting(
                name: "weight of a corpus", value: "\(weight)", expected: "a number above zero")
        }
        self.parts = parts
    }

    /// One stream.
    public init(_ tokens: any TokenStream) { parts = [Part(tokens)] }

    /// Tokens of all parts.
    public var count: Int { parts.reduce(0) { $0 + $1.tokens.count } }

    /// Part of the segments that each stream gives; the sum is 1.
    var shares: [Double] {
        let weights = parts.map { $0.weight ?? Double($0.tokens.count) }
        let sum = weights.reduce(0, +)
        // Files without a token have no share of nothing.
        return weights.map { sum > 0 ? $0 / sum : 0 }
    }

    /// What it is, by the keys of a run's identity: digests of the tokens, and weights.
    public var identity: [String: String] { Self.identity(parts.map { ($0.tokens.digest, $0.weight) }) }

    /// `corpus` for one, `corpus.1`, `corpus.1.weight`, … for several.
    fileprivate static func identity(_ parts: [(digest: String, weight: Double?)]) -> [String: String] {
        if parts.count == 1 { return ["corpus": parts[0].digest] }
        var values: [String: String] = [:]
        for (index, part) in parts.enumerated() {
            values["corpus.\(index + 1)"] = part.digest
            if let weight = part.weight { values["corpus.\(index + 1).weight"] = "\(weight)" }
        }
        return values
    }
}

/// Which part of a mixture each of an endless sequence of segments comes from.
///
/// The sequence is cut into blocks. Every block takes a fixed number of segments from each part, in an order that seed and
/// block number decide. So the number of a part's segments before any position has a closed form, and a resumed run needs
/// the position and nothing else.
struct MixtureOrder: Sendable {
    /// Segments of a block, and so the finest share: a thousandth.
    static let blockLength = 1000

    /// Of a block's segments, those of each part.
    let quotas: [Int]
    private let seed: UInt64

    /// - Throws: `RunError.invalidSetting` for a share of less than a thousandth.
    init(shares: [Double], seed: UInt64) throws {
        // Largest remainders (Hamilton's apportionment): each its whole part, what is left to the largest fractions.
        let exact = shares.map { $0 * Double(Self.blockLength) }
        var quotas = exact.map { Int($0) }
        let byFraction = exact.indices.sorted {
            (exact[$0] - exact[$0].rounded(.down), -$0) > (exact[$1] - exact[$1].rounded(.down), -$1)
        }
        for index in byFraction.prefix(Self.blockLength - quotas.reduce(0, +)) { quotas[index] += 1 }
        if let index = quotas.firstIndex(of: 0) {
            throw RunError.invalidSetting(
                name: "share of corpus \(index + 1)", value: "\(shares[index])",
                expected: "a thousandth of the segments or more")
        }
        self.quotas = quotas
        self.seed = seed
    }

    /// For each position of a range: the part, and how many of that part's segments come before.
    func places(_ range: Range<Int>) -> [(part: Int, position: Int)] {
        if quotas.count == 1 { return range.map { (0, $0) } }
        var places: [(part: Int, position: Int)] = []
        places.reserveCapacity(range.count)
        var first = range.lowerBound
        while first < range.upperBound {
            let block = first / Self.blockLength
            let wanted = first..<min((block + 1) * Self.blockLength, range.upperBound)
            var taken = quotas.map { $0 * block }
            for (offset, part) in arrangement(ofBlock: block).enumerated() {
                if wanted.contains(block * Self.blockLength + offset) { places.append((part, taken[part])) }
                taken[part] += 1
            }
            first = wanted.upperBound
        }
        return places
    }

    private func arrangement(ofBlock block: Int) -> [Int] {
        var generator = SplitMix64(seed: seed &+ UInt64(block) &* 0xD1B5_4A32_D192_ED03)
        return quotas.enumerated().flatMap { Array(repeating: $0.offset, count: $0.element) }
            .shuffled(using: &generator)
    }
}
