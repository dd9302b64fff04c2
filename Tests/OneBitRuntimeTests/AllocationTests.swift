import CAllocationCounter
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

#if DEBUG
    private let isOptimized = false
#else
    private let isOptimized = true
#endif

/// The decode loop allocates nothing per token.
///
/// In release builds, which is what runs: without optimisation Swift allocates for generic code. `make test-release`.
@Suite(.enabled(if: isOptimized, "allocations are counted in release builds: make test-release"))
struct AllocationTests {
    @Test("The counter counts")
    func counter() {
        guard allocation_counter_is_active() else { return }
        let before = allocation_counter_value()
        let array = [Int](repeating: 1, count: Int.random(in: 100...101))
        #expect(allocation_counter_value() > before)
        #expect(array.count >= 100)
    }

    @Test(
        "Generating a token allocates nothing, greedily or with every filter, with one thread or two",
        arguments: [
            GenerateParameters.greedy,
            GenerateParameters(temperature: 0.9, topK: 20, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1),
            GenerateParameters(temperature: 0.9, topP: 0.9),
        ], [1, 2])
    func generation(parameters: GenerateParameters, threads: Int) throws {
        let tiny = try TinyPackedModel(maximumPositions: 64)
        let model = try tiny.model(threads: threads)
        var iterator = try TokenIterator(prompt: tiny.tokens(5), model: model, parameters: parameters)
        // The first tokens make the arrays that are kept.
        for _ in 0..<8 { _ = try iterator.next() }
        let before = allocation_counter_value()
        for _ in 0..<20 { _ = try iterator.next() }
        #expect(allocation_counter_value() == before)
        #expect(iterator.stepCount > 20)
    }
}
