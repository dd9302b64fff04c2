import Foundation
import ModelDescription
import OneBitTraining
import TestSupport
import Testing
import Torch

@Suite("Teacher against transformers", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct TeacherConformanceTests {
    private let checkpoint: Checkpoint
    private let model: Transformer
    private let reference: ReferenceTensors

    init() throws {
        checkpoint = try Checkpoint(directory: SharedData.url("models/stories260K"))
        model = try Transformer(checkpoint: checkpoint)
        reference = try ReferenceTensors("data/reference/stories260K/logits.safetensors")
    }

    @Test("Logits equal within 1e-4 relative", arguments: ["greedy_story", "wikitext_a", "random_a", "code_unicode"])
    func logits(sequence: String) throws {
        let tokens = try reference.integers("\(sequence).input_ids")
        let logits = try TorchModel(model).logits(of: tokens)
        #expect(try relativeError(logits, reference.floats("\(sequence).logits")) < 1e-4)
    }

    @Test("States that enter each block equal within 1e-4 relative")
    func hiddenStates() throws {
        let tokens = try reference.integers("greedy_story.input_ids")
        let states = try withoutGradient {
            try model(try Tensor.integers(tokens, shape: [1, tokens.count]), hiddenStates: true).hiddenStates
        }
        #expect(states.count == checkpoint.configuration.layerCount)
        for (index, state) in states.enumerated() {
            let expected = try reference.floats("greedy_story.hidden_states.\(index)")
            #expect(try relativeError(state.floats(), expected) < 1e-4, "state \(index)")
        }
    }

    @Test("Logits token by token through the cache equal the whole sequence's")
    func cache() throws {
        let tokens = Array(try reference.integers("greedy_story.input_ids").prefix(24))
        let teacher = TorchModel(model)
        let whole = try teacher.logits(of: tokens)
        let sequence = try SingleSequence(teacher)
        let vocabulary = checkpoint.configuration.vocabularySize
        var position = 0
        for chunk in [5, 1, 1, 7, 10] {
            let logits = try sequence.read(Array(tokens[position..<(position + chunk)]))
            position += chunk
            let expected = Array(whole[((position - 1) * vocabulary)..<(position * vocabulary)])
            #expect(relativeError(logits, expected) < 1e-5, "after \(position) tokens")
        }
    }
}
