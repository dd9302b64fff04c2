import Foundation
import ModelDescription
import OneBitRuntime
import OneBitTraining
import SignDecomposition
import TestSupport
import Testing

/// Random models of every family, with logits that transformers computed: `models/tiny-*`.
@Suite("Model families against transformers", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct FamilyConformanceTests {
    static let models = [
        "tiny-llama1", "tiny-llama3", "tiny-mistral", "tiny-mistral-swa", "tiny-opt-125m", "tiny-opt-350m",
        "tiny-qwen2", "tiny-qwen3",
    ]

    @Test("Logits and hidden states equal within 1e-4 relative", arguments: models)
    func teacher(name: String) throws {
        let checkpoint = try Checkpoint(directory: SharedData.url("models/\(name)"))
        let reference = try ReferenceTensors("models/\(name)/reference.safetensors")
        let model = try TorchModel(checkpoint: checkpoint, threads: 1)
        for sequence in 0..<3 {
            let tokens = try reference.integers("input_ids.\(sequence)")
            let expected = try reference.floats("logits.\(sequence)")
            #expect(try relativeError(model.logits(of: tokens), expected) < 1e-4, "sequence \(sequence)")
        }
        let states = try model.states(of: reference.integers("input_ids.2"))
        #expect(try relativeError(states.logits, reference.floats("logits.2")) < 1e-4)
        #expect(states.hiddenStates.count == checkpoint.configuration.layerCount + 1)
        for (index, state) in states.hiddenStates.enumerated() {
            let expected = try reference.floats("hidden_states.\(index).2")
            #expect(relativeError(state, expected) < 1e-4, "state \(index)")
        }
    }

    @Test("Token by token through the cache, the logits are those of the whole sequence", arguments: models)
    func cache(name: String) throws {
        let model = try TorchModel(
            checkpoint: Checkpoint(directory: SharedData.url("models/\(name)")), threads: 1)
        let reference = try ReferenceTensors("models/\(name)/reference.safetensors")
        let tokens = try reference.integers("input_ids.0")
        let expected = try reference.floats("logits.0")
        let vocabulary = model.configuration.vocabularySize
        let sequence = try SingleSequence(model)
        var position = 0
        for chunk in [5, 1, 14, 1, 27] {
            let logits = try sequence.read(Array(tokens[position..<position + chunk]))
            position += chunk
            let row = Array(expected[(position - 1) * vocabulary..<position * vocabulary])
            #expect(relativeError(logits, row) < 1e-4, "after \(position) tokens")
        }
    }

    @Test("Continuations behind a shared context score as transformers' logits say", arguments: models)
    func scores(name: String) throws {
        let model = try TorchModel(
            checkpoint: Checkpoint(directory: SharedData.url("models/\(name)")), threads: 2)
        let reference = try ReferenceTensors("models/\(name)/reference.safetensors")
        let vocabulary = model.configuration.vocabularySize
        var requests: [ContinuationRequest] = []
        var expected: [Double] = []
        for sequence in 0..<3 {
            let tokens = try reference.integers("input_ids.\(sequence)")
            let logits = try reference.floats("logits.\(sequence)")
            let split = tokens.count - 6
            // The real continuation stands last, behind others that it must not see.
            requests.append(
                ContinuationRequest(
                    context: Array(tokens[..<split]),
                    continuations: [[7, 8, 9], [5], [6, 6], Array(tokens[split...])]))
            expected.append(
                (split..<tokens.count).reduce(0.0) { sum, position in
                    let row = Array(logits[(position - 1) * vocabulary..<position * vocabulary])
                    return sum
                        + row.withUnsafeBufferPointer {
                            TokenPrediction(logits: $0, target: tokens[position]).logProbability
                        }
                })
        }
        let scores = try model.scores(of: requests)
        for (sequence, score) in scores.enumerated() {
            let found = try #require(score.last).logLikelihood
            #expect(abs(found - expected[sequence]) < 1e-4 * abs(expected[sequence]), "sequence \(sequence)")
        }
    }

    @Test("The packed start student computes what the float one does, within 1e-3 relative", arguments: models)
    func packed(name: String) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "onebit-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let teacher = try Checkpoint(directory: SharedData.url("models/\(name)"))
        let reference = try ReferenceTensors("models/\(name)/reference.safetensors")
        for recipe in [StartRecipe.paper, .standard] {
            let (start, packed) = (folder.appending(path: "start"), folder.appending(path: "packed"))
            try StudentInitializer(recipe: recipe).run(teacher: teacher, destination: start, overwrite: true)
            let student = try Checkpoint(directory: start)
            try CheckpointPacker(valueType: .float32).pack(student: student, destination: packed, overwrite: true)
            let float = try TorchModel(checkpoint: student, threads: 1)
            let runtime = try PackedModel(
                directory: packed, options: LoadOptions(threads: 1, inputPrecision: .bits16, layoutPolicy: .memory))
            for sequence in 0..<3 {
                let tokens = try reference.integers("input_ids.\(sequence)")
                let expected = try float.logits(of: tokens)
                #expect(try relativeError(runtime.logits(of: tokens), expected) < 1e-3, "\(recipe), \(sequence)")
            }
        }
    }
}
