import ArgumentParser
import Foundation
import OneBitTraining
import TensorFiles
import Tokenization

extension CorpusSource: ExpressibleByArgument, CustomStringConvertible {
    static let argumentHelp =
        "A weight is the file's share of the segments that are trained on: stories.jsonl=2 and wiki.txt=1 give two thirds "
        + "and one. Without weights, files share by their number of tokens."

    /// `FILE` or `FILE=WEIGHT`. A file that is there under the whole name is taken by it.
    public init?(argument: String) {
        if argument.isEmpty { return nil }
        if let mark = argument.lastIndex(of: "="), mark != argument.startIndex,
            let weight = Double(argument[argument.index(after: mark)...]),
            !FileManager.default.fileExists(atPath: argument)
        {
            self.init(file: URL(filePath: String(argument[..<mark])), weight: weight)
        } else {
            self.init(file: URL(filePath: argument))
        }
    }

    public static var defaultCompletionKind: CompletionKind { .file() }

    /// About how many tokens files hold, for a plan before they are read: four bytes of text each, three times as
    /// many where they are compressed.
    static func estimatedTokens(_ sources: [CorpusSource]) -> Int {
        sources.reduce(0) { sum, source in
            let bytes = (try? source.file.resourceValues(forKeys: [.fileSizeKey]).fileSize) ?? 0
            return sum + bytes * (source.file.pathExtension == "gz" ? 3 : 1) / 4
        }
    }

    /// The file's name, and its weight where it has one.
    public var description: String {
        file.lastPathComponent + (weight.map { $0 == $0.rounded() ? "=\(Int($0))" : "=\($0)" } ?? "")
    }
}

extension TrainingCorpus {
    /// A text that is read at once, in memory.
    ///
    /// - Throws: what `Corpus.tokens` throws, and ``TrainingError/emptyCorpus(file:)``.
    init(file: URL, tokenizer: any Tokenizer, vocabularySize: Int) throws {
        let tokens = try Corpus.tokens(of: file, tokenizer: tokenizer, vocabularySize: vocabularySize)
        guard !tokens.isEmpty else { throw TrainingError.emptyCorpus(file: file) }
        self.init(tokens)
    }
}

/// A corpus's tokens, kept in files beside the rest of a run's work.
enum TokenizedCorpus {
    private static let suffix = ".tokens"

    /// Opens the files' tokens, and makes them with progress where that is still to be done.
    static func open(
        _ sources: [CorpusSource], encoding: CorpusEncoding, in directory: URL, progress: ProgressOptions
    ) throws -> TrainingCorpus {
        try TrainingCorpus(
            sources.enumerated().map { index, source in
                var meter: ProgressMeter?
                let tokens = try TokenFile.current(
                    directory.appending(path: "corpus-\(index + 1)\(suffix)"), of: source.file, encoding: encoding
                ) { now in
                    if meter == nil {
                        meter = progress.meter(
                            "tokenize \(source.file.lastPathComponent)", total: now.totalBytes, unit: "bytes")
                    }
                    meter?.update(done: now.bytes, note: "\(Quantity.count(now.tokens)) tokens")
                }
                meter?.finish()
                guard tokens.count > 0 else { throw TrainingError.emptyCorpus(file: source.file) }
                return TrainingCorpus.Part(tokens, weight: source.weight)
            })
    }

    /// Removes a run's directory where the run ended with `error`, or was only planned, before there was anything else in it.
    /// A cancelled run is expected to go on, and keeps the tokens.
    ///
    /// - Parameter others: Names of files that nothing is lost with either.
    static func removeUnlessBegun(_ directory: URL, after error: (any Error)? = nil, besides others: Set<String> = []) {
        guard let contents = try? FileManager.default.contentsOfDirectory(atPath: directory.path) else { return }
        let isCancelled = error is CancellationError
        if contents.allSatisfy({ others.contains($0) || !isCancelled && $0.hasSuffix(suffix) }) {
            try? FileManager.default.removeItem(at: directory)
        }
    }
}
