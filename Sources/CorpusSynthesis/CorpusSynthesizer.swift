// CorpusSynthesis: a teacher writes the text that it will be distilled on. May import LanguageModel, ResumableRuns,
// SignDecomposition and TensorFiles.

import Foundation
import JSON
import LanguageModel
import ModelDescription
import ResumableRuns
import SignDecomposition
import TensorFiles
import Tokenization

/// Lets the teacher write the corpus that it will be distilled on, through the generation engine: rows that end are filled
/// with the next samples.
///
/// A sample depends on the settings and its number alone, as long as the model's logits depend on a sequence's tokens
/// alone. So samples are written to `corpus.jsonl.partial` in the order of their numbers as soon as they are there; the file
/// gets its name when it is whole. Those under way are kept beside it every half minute, and when the run is stopped. A run that
/// was stopped, or killed at any point, resumes to the same bytes as an unbroken one.
public struct CorpusSynthesizer {
    /// Samples that are written side by side.
    public var rows: Int { limits.sequences }

    let model: any CausalLanguageModel
    private let tokenizer: any Tokenizer
    private let settings: SynthesisSettings
    let limits: GenerationLimits
    private let identity: RunIdentity
    /// Token read before the samples, if any.
    private let beginOfSequence: Int?
    /// Tokens that end a sample.
    private let stops: Set<Int>

    /// - Parameters:
    ///   - model: Who writes.
    ///   - tokenizer: The model's, which makes text of the tokens.
    ///   - settings: How many samples, how long, and how they begin.
    ///   - teacher: Digest of the model, so that a run is not resumed with another.
    ///   - arithmetic: What the model computes in, where that decides what it writes.
    ///   - limits: How much is taken on at a time.
    /// - Throws: `RunError.invalidSetting(name:value:expected:)``, `LanguageModelError.notEnoughMemory`.
    public init(
        model: any CausalLanguageModel, tokenizer: any Tokenizer, settings: SynthesisSettings,
        teacher: ContentDigest? = nil, arithmetic: String? = nil, limits: SynthesisLimits = SynthesisLimits()
    ) throws {
        let configuration = model.configuration
        try settings.validate(context: configuration.maximumPositions)
        self.model = model
        self.tokenizer = tokenizer
        self.settings = settings
        self.limits = try limits.generationLimits(for: model, settings: settings)
        identity = try RunIdentity(
            Identity(settings: settings, arithmetic: arithmetic), inputs: teacher.map { ["teacher": $0] } ?? [:])
        beginOfSequence = tokenizer.beginOfSequence ?? configuration.beginOfSequence
        stops = Set(configuration.endOfSequence + [tokenizer.endOfSequence].compactMap(\.self))
    }

    private struct Identity: Encodable {
        let settings: SynthesisSettings
        let arithmetic: String?

        func encode(to encoder: any Encoder) throws {
            try settings.encode(to: encoder)
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encodeIfPresent(arithmetic, forKey: .arithmetic)
        }

        private enum CodingKeys: CodingKey { case arithmetic }
    }

    /// - Parameters:
    ///   - output: The corpus file.
    ///   - resumes: Whether to go on from a partial file; one that is there is refused otherwise.
    ///   - overwrite: Whether a file that stands there is replaced, once the new one is whole.
    ///   - observe: Receives the progress at the beginning and after every pass; when it throws, what is there stays for a
    ///     resumption.
    /// - Returns: Tokens drawn by this run.
    /// - Throws: `RunError`, `FileError`, `LanguageModelError`; `CancellationError` within a fraction of a second,
    ///   with everything kept.
    @discardableResult
    public func write(
        to output: URL, resumes: Bool, overwrite: Bool = false, observe: (SynthesisProgress) throws -> Void
    ) throws -> Int {
        try requireReplaceable(output, overwrite: overwrite)
        let partial = output.appendingPathExtension("partial")
        let identityFile = output.appendingPathExtension("settings.json")
        var unfinished = UnfinishedSamples(file: output.appendingPathExtension("unfinished.jsonl"))
        var done = 0
        if FileManager.default.fileExists(atPath: partial.path) {
            guard resumes else { throw RunError.workExists(directory: partial) }
            try requireSameIdentity(in: identityFile)
            done = try keepWholeLines(of: partial)
            unfinished.load(from: done, accepting: isBeginning)
        } else {
            // Left by a run whose partial file somebody took away.
            try unfinished.remove()
            try writeAtomically(try JSONEncoder.sorted.encode(identity), to: identityFile)
            try writeAtomically(Data(), to: partial)
        }
        let handle = try FileHandle(forWritingTo: partial)
        defer { try? handle.close() }
        try handle.seekToEnd()

        var run = Run(synthesizer: self, done: done, unfinished: unfinished)
        do {
            try run.write(to: handle, of: partial, observe: observe)
        } catch {
            // Where this fails too, the first error is the one to know of.
            try? run.keepUnfinished()
            throw error
        }
        try handle.synchronize()
        guard rename(partial.path, output.path) == 0 else {
            throw FileError.cannotWrite(
                file: output.path, neededBytes: nil, reason: String(cString: strerror(errno)))
        }
        try unfinished.remove()
        try FileManager.default.removeItem(at: identityFile)
        return run.tokenCount
    }

    /// What stands at `output` must be a file that may be replaced: known now, and not after hours of work.
    private func requireReplaceable(_ output: URL, overwrite: Bool) throws {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: output.path, isDirectory: &isDirectory) else { return }
        guard overwrite else { throw FileError.destinationExists(path: output.path) }
        if isDirectory.boolValue { throw FileError.notARegularFile(file: output.path) }
    }

    private func requireSameIdentity(in file: URL) throws {
        let saved: RunIdentity
        do {
            saved = try JSONDecoder().decode(RunIdentity.self, from: Data(contentsOf: file))
        } catch {
            throw RunError.damagedState(directory: file, reason: "\(error)")
        }
        try identity.requireSame(as: saved, in: file)
    }

    /// Cuts the partial file behind its last whole line and returns the number of samples that stay.
    private func keepWholeLines(of partial: URL) throws -> Int {
        let data = try Data(contentsOf: partial, options: .mappedIfSafe)
        var (lines, end) = (0, 0)
        data.withUnsafeBytes { bytes in
            while lines < settings.samples, end < bytes.count,
                let found = memchr(bytes.baseAddress! + end, Int32(UInt8(ascii: "\n")), bytes.count - end)
            {
                end = UnsafeRawPointer(found) - bytes.baseAddress! + 1
                lines += 1
            }
        }
        let handle = try FileHandle(forWritingTo: partial)
        defer { try? handle.close() }
        try handle.truncate(atOffset: UInt64(end))
        return lines
    }

    // MARK: Samples

    /// What a sample begins with: a uniform first token, and how many greedy ones follow; and the seed of the rest.
    private struct Beginning {
        var first: [Int] = []
        var greedyCount = 0
        let seed: UInt64
    }

    private func beginning(of sample: Int) throws -> Beginning {
        var random = SplitMix64(seed: settings.seed ^ (UInt64(sample) &* 0xD1B5_4A32_D192_ED03))
        var beginning = Beginning(seed: random.next())
        if settings.firstToken == .uniform || beginOfSequence == nil {
            beginning.first = [try firstToken(using: &random)]
            beginning.greedyCount = Int.random(in: settings.greedyTokens, using: &random)
        }
        return beginning
    }

    /// Uniform over the vocabulary without BOS and the stop tokens, which would end the sample before it began.
    ///
    /// - Throws: `RunError.invalidSetting(name:value:expected:)`` where nothing else is in the vocabulary.
    private func firstToken(using random: inout SplitMix64) throws -> Int {
        // Rows that pad a model's table are no tokens to begin with.
        let tokens = 0..<min(tokenizer.vocabularySize, model.configuration.vocabularySize)
        guard tokens.contains(where: { $0 != beginOfSequence && !stops.contains($0) }) else {
            throw RunError.invalidSetting(
                name: "vocabulary", value: "\(tokens.count) tokens", expected: "one at least that begins a text")
        }
        while true {
            let token = Int.random(in: tokens, using: &random)
            if token != beginOfSequence, !stops.contains(token) { return token }
        }
    }

    /// Whether an earlier run can have left that much of a sample.
    private func isBeginning(_ sample: UnfinishedSamples.Sample) -> Bool {
        let vocabulary = 0..<model.configuration.vocabularySize
        guard sample.number < settings.samples, sample.tokens.count <= settings.maximumLength,
            sample.tokens.allSatisfy(vocabulary.contains)
        else { return false }
        if sample.isFinished { return !sample.tokens.isEmpty }
        // Where rotations depend on a sequence's length, reading it as a prompt is not what writing it was.
        return !model.configuration.structure.dependsOnLength && !sample.tokens.contains(where: stops.contains)
    }

    /// - Parameter known: tokens of the sample that an earlier run has written, its first one at least.
    private func request(_ sample: Int, known: [Int]?) throws -> GenerationRequest {
        let beginning = try beginning(of: sample)
        let tokens = known ?? beginning.first
        var parameters = GenerateParameters(temperature: 1, topP: 1, seed: beginning.seed)
        parameters.maxTokens = settings.maximumLength - beginning.first.count
        var input = GenerationRequest.Input(
            prompt: (beginOfSequence.map { [$0] } ?? []) + tokens, parameters: parameters)
        input.greedyTokens = beginning.greedyCount
        input.generatedTokens = tokens.count - beginning.first.count
        input.wantsText = false
        return GenerationRequest(index: sample) { [input] in input }
    }

    private func line(of tokens: [Int]) throws -> Data {
        let text = tokenizer.decode(tokens.filter { !stops.contains($0) }, skipSpecialTokens: true)
        return try JSONEncoder.sorted.encode(CorpusLine(text: text, tokens: tokens)) + Data("\n".utf8)
    }

    // MARK: A run

    /// Samples under way, and those that wait for one before them.
    private struct Run {
        private static let keepInterval: Duration = .seconds(30)

        private let synthesizer: CorpusSynthesizer
        private var scheduler: GenerationScheduler
        /// The number of the next sample to begin, and of the next to write.
        private var next: Int
        private var written: Int
        /// Tokens by number, of samples that an earlier run has begun, until they are requested.
        private var known: [Int: [Int]] = [:]
        /// What an earlier run had written of the samples under way.
        private var begun: [Int: [Int]] = [:]
        /// Tokens by number, of samples that wait to be written.
        private var finished: [Int: [Int]] = [:]
        private var unfinished: UnfinishedSamples
        private var kept = ContinuousClock.now
        private var progress: SynthesisProgress
        private(set) var tokenCount = 0

        init(synthesizer: CorpusSynthesizer, done: Int, unfinished: UnfinishedSamples) {
            self.synthesizer = synthesizer
            self.unfinished = unfinished
            scheduler = GenerationScheduler(
                model: synthesizer.model, tokenizer: synthesizer.tokenizer, limits: synthesizer.limits)
            (next, written) = (done, done)
            for sample in unfinished.samples {
                if sample.isFinished {
                    finished[sample.number] = sample.tokens
                } else {
                    known[sample.number] = sample.tokens
                }
            }
            progress = SynthesisProgress(
                settings: synthesizer.settings, samples: done + finished.count,
                rows: synthesizer.rows)
        }

        mutating func write(
            to handle: FileHandle, of file: URL, observe: (SynthesisProgress) throws -> Void
        ) throws {
            try observe(progress)
            try writeLines(to: handle, of: file)
            while written < synthesizer.settings.samples {
                try Task.checkCancellation()
                try addRequests()
                let before = scheduler.tokenCount
                try scheduler.step()
                tokenCount += scheduler.tokenCount - before
                for event in scheduler.events {
                    guard case .end(let request, let result) = event else { continue }
                    try take(request.index, result.get())
                }
                try writeLines(to: handle, of: file)
                update()
                if ContinuousClock.now - kept > Self.keepInterval { try keepUnfinished() }
                try observe(progress)
            }
        }

        /// Enough for all rows; finished ones are passed over.
        private mutating func addRequests() throws {
            while next < synthesizer.settings.samples, scheduler.waitingCount < synthesizer.rows {
                defer { next += 1 }
                guard finished[next] == nil else { continue }
                let tokens = known.removeValue(forKey: next)
                if let tokens { begun[next] = tokens }
                scheduler.add(try synthesizer.request(next, known: tokens))
            }
        }

        private mutating func take(_ number: Int, _ info: GenerateCompletionInfo) throws {
            let first = try begun.removeValue(forKey: number) ?? synthesizer.beginning(of: number).first
            finished[number] = first + info.tokens + (info.stopToken.map { [$0] } ?? [])
            progress.samples += 1
            if info.stopToken != nil { progress.endedSamples += 1 }
        }

        private mutating func writeLines(to handle: FileHandle, of file: URL) throws {
            var lines = Data()
            while let tokens = finished.removeValue(forKey: written) {
                lines += try synthesizer.line(of: tokens)
                written += 1
            }
            guard !lines.isEmpty else { return }
            do {
                try handle.write(contentsOf: lines)
            } catch {
                throw FileError.cannotWrite(
                    file: file.path, neededBytes: lines.count, reason: error.localizedDescription)
            }
        }

        private mutating func update() {
            progress.tokens = tokenCount
            progress.lengths.removeAll(keepingCapacity: true)
            scheduler.forEachRunning { progress.lengths.append((begun[$0.index]?.count ?? 0) + $1.count) }
        }

        /// Writes down what is under way or waits.
        mutating func keepUnfinished() throws {
            kept = ContinuousClock.now
            var samples = finished.map { UnfinishedSamples.Sample(number: $0, isFinished: true, tokens: $1) }
            samples += known.map { UnfinishedSamples.Sample(number: $0, isFinished: false, tokens: $1) }
            var running = begun
            try scheduler.forEachRunning { request, tokens in
                let number = request.index
                running[number] = try (begun[number] ?? synthesizer.beginning(of: number).first) + tokens
            }
            samples += running.map { UnfinishedSamples.Sample(number: $0, isFinished: false, tokens: $1) }
            try unfinished.replace(by: samples)
        }
    }
}

/// How far a run is.
public struct SynthesisProgress: Sendable {
    /// Samples that are complete, those of earlier runs included; some of them wait for one before them to be written.
    public internal(set) var samples: Int
    /// Tokens drawn by this run.
    public internal(set) var tokens = 0
    /// Samples that are written side by side.
    public let rows: Int

    private let settings: SynthesisSettings
    /// Samples of this run that a stop token ended.
    var endedSamples = 0
    /// Tokens of the samples under way.
    var lengths: [Int] = []

    init(settings: SynthesisSettings, samples: Int, rows: Int) {
        self.settings = settings
        self.samples = samples
        self.rows = rows
    }

    /// Tokens that this run will have drawn at its end, estimated: a stop token is taken to come with the same probability
    /// h after every token, as often as it has come so far, so that n tokens more may follow with
    ///
    ///     E[n] = (1 − (1 − h)ⁿ) / h
    public var expectedTokens: Int {
        let hazard = tokens == 0 ? 0 : Double(endedSamples) / Double(tokens)
        func expected(_ most: Int) -> Double {
            hazard == 0 ? Double(most) : -expm1(Double(most) * log1p(-hazard)) / hazard
        }
        let begun = lengths.reduce(0.0) { $0 + expected(settings.maximumLength - $1) }
        let rest = settings.samples - samples - lengths.count
        return tokens + Int((begun + Double(max(0, rest)) * expected(settings.maximumLength)).rounded())
    }
}

/// One line of the corpus that a teacher writes.
struct CorpusLine: Codable {
    var text: String
    var tokens: [Int]
}
