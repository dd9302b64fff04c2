import Foundation
import ModelDescription
import TensorFiles
import Tokenization

/// Lets the teacher write the corpus that it will be distilled on.
///
/// Samples go to `corpus.jsonl.partial` batch by batch; the file gets its name when it is whole. A killed run leaves the
/// partial file, and a resumed one drops what is not a whole batch and goes on with the same samples as an unbroken run.
public struct CorpusSynthesizer {
    private let batch: SampleBatch
    private let tokenizer: any Tokenizer
    private let settings: SynthesisSettings
    private let parallelism: Parallelism

    /// - Parameters:
    ///   - model: Who writes.
    ///   - tokenizer: The model's, which makes text of the tokens.
    ///   - settings: How many samples, how long, and how they begin.
    ///   - threads: Threads in all; as many as there are cores where nil.
    /// - Throws: ``TrainingError/invalidSetting(name:value:expected:)``.
    public init(
        model: Transformer, tokenizer: any Tokenizer, settings: SynthesisSettings, threads: Int? = nil
    ) throws {
        let configuration = model.configuration
        parallelism = Parallelism(threads: threads, parameters: configuration.parameterCount)
        try settings.validate(context: configuration.maximumPositions)
        self.settings = settings
        self.tokenizer = tokenizer
        batch = SampleBatch(
            model: model,
            settings: settings,
            beginOfSequence: tokenizer.beginOfSequence ?? configuration.beginOfSequence,
            stops: Set(configuration.endOfSequence)
        )
    }

    /// Samples and tokens written so far, those of earlier runs included in `samples` only.
    public struct Progress: Sendable {
        public let samples: Int
        public let tokens: Int
    }

    /// - Parameters:
    ///   - output: The corpus file.
    ///   - resumes: Whether to go on from a partial file; one that is there is refused otherwise.
    ///   - observe: Told after each batch; when it throws, the batches so far stay for a resumption.
    /// - Returns: Tokens written by this run.
    @discardableResult
    public func write(to output: URL, resumes: Bool, observe: (Progress) throws -> Void) throws -> Int {
        let partial = output.appendingPathExtension("partial")
        let settingsFile = output.appendingPathExtension("settings.json")
        var done = 0
        if FileManager.default.fileExists(atPath: partial.path) {
            guard resumes else { throw TrainingError.workExists(directory: partial) }
            try requireSameSettings(in: settingsFile)
            done = try keepWholeBatches(of: partial)
        } else {
            try writeAtomically(try JSONEncoder.sorted.encode(settings), to: settingsFile)
            try writeAtomically(Data(), to: partial)
        }

        let handle = try FileHandle(forWritingTo: partial)
        defer { try? handle.close() }
        try handle.seekToEnd()
        var tokens = 0
        while done < settings.samples {
            let batches = (0..<parallelism.workers).map { done + $0 * settings.batchSize }
                .filter { $0 < settings.samples }
                .map { $0..<min($0 + settings.batchSize, settings.samples) }
            let batch = batch
            var lines = Data()
            for sample in try parallelism.map(batches.count, { try batch.write(batches[$0]) }).joined() {
                tokens += sample.count
                let text = tokenizer.decode(sample.filter { !batch.stops.contains($0) }, skipSpecialTokens: true)
                lines.append(try JSONEncoder.sorted.encode(CorpusLine(text: text, tokens: sample)))
                lines.append(UInt8(ascii: "\n"))
            }
            try handle.write(contentsOf: lines)
            try handle.synchronize()
            done += batches.reduce(0) { $0 + $1.count }
            try observe(Progress(samples: done, tokens: tokens))
        }
        try FileManager.default.moveItem(at: partial, to: output)
        try FileManager.default.removeItem(at: settingsFile)
        return tokens
    }

    private func requireSameSettings(in file: URL) throws {
        let saved: SynthesisSettings
        do {
            saved = try JSONDecoder().decode(SynthesisSettings.self, from: Data(contentsOf: file))
        } catch {
            throw TrainingError.damagedTrainingCheckpoint(directory: file, reason: "\(error)")
        }
        if saved != settings {
            throw TrainingError.settingsChanged(
                directory: file, key: "synthesis settings", saved: "\(saved)", given: "\(settings)")
        }
    }

    /// Cuts the partial file behind its last whole batch and returns the number of samples that stay.
    private func keepWholeBatches(of partial: URL) throws -> Int {
        let data = try Data(contentsOf: partial)
        let ends = data.indices.filter { data[$0] == UInt8(ascii: "\n") }
        let whole = ends.count / settings.batchSize * settings.batchSize
        let handle = try FileHandle(forWritingTo: partial)
        defer { try? handle.close() }
        try handle.truncate(atOffset: whole == 0 ? 0 : UInt64(ends[whole - 1] + 1))
        return whole
    }
}
