import Foundation
import Testing

@testable import LanguageModel

@Suite struct SamplerTests {
    private func frequencies(_ parameters: GenerateParameters, logits: [Float], draws: Int = 20_000) throws -> [Double]
    {
        var sampler = try Sampler(parameters)
        var counts = [Double](repeating: 0, count: logits.count)
        for _ in 0..<draws { counts[sampler.next(logits: logits)] += 1 }
        return counts.map { $0 / Double(draws) }
    }

    /// Within four standard deviations of a draw's frequency.
    private func expectFrequencies(_ found: [Double], _ expected: [Double], draws: Double = 20_000) {
        for (index, (a, p)) in zip(found, expected).enumerated() {
            #expect(abs(a - p) <= 4 * (p * (1 - p) / draws).squareRoot(), "token \(index): \(a) for \(p)")
        }
    }

    private func softmax(_ logits: [Double]) -> [Double] {
        let total = logits.reduce(0) { $0 + exp($1) }
        return logits.map { exp($0) / total }
    }

    @Test("Greedy takes the largest logit, the lowest id among equals, and never NaN")
    func greedy() throws {
        var sampler = try Sampler(.greedy)
        #expect(sampler.next(logits: [1, 3, 2]) == 1)
        #expect(sampler.next(logits: [1, 3, 3]) == 1)
        #expect(sampler.next(logits: [.nan, -5, .nan, -4]) == 3)
        #expect(sampler.next(logits: [-.infinity, -1]) == 1)
        #expect(sampler.next(logits: [.nan, .nan]) < 2)
    }

    @Test("Tokens come as often as the softmax says, at any temperature", arguments: [0.5, 1, 2.5])
    func temperature(_ temperature: Double) throws {
        let logits: [Float] = [0, 1, 2, -1, 0.5, -.infinity]
        let found = try frequencies(
            GenerateParameters(temperature: Float(temperature), topP: 1, seed: 3), logits: logits)
        expectFrequencies(found, softmax(logits.map { Double($0) / temperature }))
    }

    @Test("A vanishing temperature is greedy, a huge one uniform")
    func extremeTemperatures() throws {
        #expect(try frequencies(GenerateParameters(temperature: 1e-38, topP: 1), logits: [1, 2, 0], draws: 50)[1] == 1)
        let uniform = try frequencies(GenerateParameters(temperature: 1e30, topP: 1), logits: [9, 2, -5, 0])
        expectFrequencies(uniform, [0.25, 0.25, 0.25, 0.25])
    }

    @Test("Top-k keeps the k likeliest and their proportions; equal ones by id")
    func topK() throws {
        let found = try frequencies(
            GenerateParameters(temperature: 1, topK: 3, topP: 1), logits: [0, 2, 1, 3, -2, 1])
        let p = softmax([2, 1, 3])
        expectFrequencies(found, [0, p[0], p[1], p[2], 0, 0])
        #expect(try frequencies(GenerateParameters(topK: 1, topP: 1), logits: [0, 4, 2], draws: 50) == [0, 1, 0])
        let all = try frequencies(GenerateParameters(temperature: 1, topK: 99, topP: 1), logits: [0, 1])
        expectFrequencies(all, softmax([0, 1]))
    }

    @Test("Top-p keeps the fewest tokens that reach p, alone and after top-k")
    func topP() throws {
        let probabilities = [0.1, 0.4, 0.2, 0.3]
        let logits = probabilities.map { Float(log($0)) }
        // 0.4 + 0.3 reach 0.65; 0.4 alone would not.
        let found = try frequencies(GenerateParameters(temperature: 1, topP: 0.65), logits: logits)
        expectFrequencies(found, [0, 4.0 / 7, 0, 3.0 / 7])
        #expect(try frequencies(GenerateParameters(temperature: 1, topP: 0.01), logits: logits, draws: 50)[1] == 1)
        // Of the three likeliest, 0.7 of their 0.9 is reached by two.
        let both = try frequencies(GenerateParameters(temperature: 1, topK: 3, topP: 0.7), logits: logits)
        expectFrequencies(both, [0, 4.0 / 7, 0, 3.0 / 7])
    }

    @Test("Min-p drops what is far less likely than the likeliest")
    func minP() throws {
        let logits = [0.5, 0.3, 0.15, 0.05].map { Float(log($0)) }
        let found = try frequencies(GenerateParameters(temperature: 1, topP: 1, minP: 0.25), logits: logits)
        expectFrequencies(found, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0])
        #expect(
            try frequencies(GenerateParameters(temperature: 1, topP: 1, minP: 1), logits: logits, draws: 50)[0] == 1)
    }

    /// The filters written down plainly, in double precision, on a sorted vocabulary: the token that a number in 0 ..< 1 draws.
    private func plainDraw(_ parameters: GenerateParameters, logits: [Float], unit: Double) -> Int {
        let largest = Double(logits.filter { !$0.isNaN }.max()!)
        let tokens = logits.indices.filter { !logits[$0].isNaN }
        let sorted = tokens.sorted { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        let isByLikelihood = parameters.topK > 0 && parameters.topK < logits.count || parameters.topP < 1
        var kept = (isByLikelihood ? sorted : tokens)
            .map { (token: $0, weight: exp((Double(logits[$0]) - largest) / Double(parameters.temperature))) }
        if parameters.topK > 0 { kept = Array(kept.prefix(parameters.topK)) }
        if parameters.topP < 1 {
            let mass = Double(parameters.topP) * kept.reduce(0) { $0 + $1.weight }
            var sum = 0.0
            kept = Array(
                kept.prefix { candidate in
                    defer { sum += candidate.weight }
                    return sum < mass
                })
        }
        kept = kept.filter { $0.weight >= Double(parameters.minP) }
        var rest = unit * kept.reduce(0) { $0 + $1.weight }
        for (token, weight) in kept {
            rest -= weight
            if rest < 0 { return token }
        }
        return kept.last!.token
    }

    @Test("Draws are those of the plain formulas on a sorted vocabulary, whatever the filters and the logits")
    func plainFormulas() throws {
        var generator = SeededGenerator(seed: 11)
        for trial in 0..<400 {
            let count = [1, 2, 15, 16, 17, 100, 1025, 4000][trial % 8]
            let spread = Float([0.01, 1, 6, 40][trial / 8 % 4])
            var logits = (0..<count).map { _ in Float.random(in: -spread...spread, using: &generator) }
            // Equals, and what has no weight.
            if trial % 3 == 0 { logits = logits.map { ($0 * 4).rounded() / 4 } }
            for index in stride(from: 3, to: trial % 5 == 0 ? count : 0, by: 7) { logits[index] = .nan }
            for index in stride(from: 5, to: trial % 7 == 0 ? count : 0, by: 6) { logits[index] = -.infinity }
            let parameters = GenerateParameters(
                temperature: [0.3, 0.8, 1, 2][trial / 3 % 4], topK: [0, 0, 1, 5, 40, 9999][trial / 5 % 6],
                topP: [1, 0.95, 0.5, 0.999][trial / 7 % 4], minP: [0, 0, 0.05, 0.3][trial / 11 % 4], seed: UInt64(trial)
            )
            var sampler = try Sampler(parameters)
            var numbers = SeededGenerator(seed: UInt64(trial))
            for draw in 0..<5 {
                let expected = plainDraw(parameters, logits: logits, unit: numbers.nextUnit())
                #expect(sampler.next(logits: logits) == expected, "trial \(trial), draw \(draw), \(parameters)")
            }
        }
    }

    @Test("The same seed draws the same tokens, another seed others")
    func seeds() throws {
        func draws(_ seed: UInt64) throws -> [Int] {
            var sampler = try Sampler(GenerateParameters(temperature: 1, topP: 1, seed: seed))
            return (0..<60).map { _ in sampler.next(logits: [0, 0.5, 1, 0.2, 0.1]) }
        }
        #expect(try draws(7) == draws(7))
        #expect(try draws(7) != draws(8))
    }

    @Test("The random numbers are xoshiro256**'s, seeded by SplitMix64")
    func generator() {
        var generator = SeededGenerator(seed: 0)
        let first = (0..<4).map { _ in generator.next() }
        #expect(first == [0x99EC_5F36_CB75_F2B4, 0xBF6E_1F78_4956_452A, 0x1A5F_849D_4933_E6E0, 0x6AA5_94F1_262D_2D2C])
        #expect((0..<1000).allSatisfy { _ in (0..<1).contains(generator.nextUnit()) })
    }

    @Test("The repetition penalty weighs against tokens of the prompt and of late, and forgets older ones")
    func repetition() throws {
        let parameters = GenerateParameters(temperature: 0, repetitionPenalty: 2, repetitionContextSize: 2)
        var sampler = try Sampler(parameters, prompt: [0, 1, 2])
        // 0 is forgotten; 1 falls from 4 to 2.
        #expect(sampler.next(logits: [3, 4, 1]) == 0)
        // Now 2 and 0 are late: 0 falls to 1.5, and −1 to −2.
        #expect(sampler.next(logits: [3, 1.6, -1]) == 1)
        #expect(sampler.next(logits: [-1, -5, -1.5]) == 2)
    }

    @Test("Frequency and presence penalties count what was drawn, and not the prompt; biases are added")
    func penaltiesAndBias() throws {
        var parameters = GenerateParameters.greedy
        parameters.frequencyPenalty = 1
        var sampler = try Sampler(parameters, prompt: [0, 0, 0])
        // 3, 2.5, 0: after one draw of 0 it is worth 2, after one of 1 that is worth 1.5, and so on.
        #expect((0..<5).map { _ in sampler.next(logits: [3, 2.5, 0]) } == [0, 1, 0, 1, 0])
        parameters.frequencyPenalty = 0
        parameters.presencePenalty = 1
        sampler = try Sampler(parameters)
        #expect((0..<4).map { _ in sampler.next(logits: [3, 2.5, 0]) } == [0, 1, 0, 0])
        parameters.presencePenalty = 0
        parameters.logitBias = [2: 100, 0: -100, 77: 1]
        sampler = try Sampler(parameters)
        #expect(sampler.next(logits: [3, 2.5, 0]) == 2)
        parameters.logitBias = [-1: 1]
        #expect(throws: GenerationError.self) { try Sampler(parameters) }
    }

    @Test("Parameters that mean nothing are refused by name")
    func validation() {
        let wrong: [(GenerateParameters, String)] = [
            (GenerateParameters(temperature: -1), "temperature"),
            (GenerateParameters(temperature: .nan), "temperature"),
            (GenerateParameters(topK: -1), "topK"), (GenerateParameters(topP: 0), "topP"),
            (GenerateParameters(topP: 1.1), "topP"), (GenerateParameters(minP: -0.1), "minP"),
            (GenerateParameters(maxTokens: -1), "maxTokens"),
            (GenerateParameters(repetitionPenalty: 0), "repetitionPenalty"),
        ]
        for (parameters, name) in wrong {
            let error = #expect(throws: GenerationError.self) { try Sampler(parameters) }
            #expect(error?.errorDescription?.hasPrefix(name) == true)
        }
    }
}
