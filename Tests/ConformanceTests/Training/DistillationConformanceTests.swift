import Foundation
import ModelDescription
import TestSupport
import Testing
import Torch

@testable import OneBitTraining

@Suite("First distillation step against the paper's code", .enabled(if: SharedData.isPresent, "../shared is not there"))
struct DistillationConformanceTests {
    private struct Parts: Decodable {
        var klBatchmean: Double
        var hiddenSum: Double
        var total: Double
        var studentLmLoss: Double
        var gradNormTotal: Double
    }

    @Test("Start logits, loss parts and every gradient equal within 1e-4 relative")
    func firstStep() throws {
        let reference = try ReferenceTensors("data/reference/onebit/start_step.safetensors")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let parts = try decoder.decode(
            Parts.self, from: Data(contentsOf: SharedData.url("data/reference/onebit/start_step.json")))
        let start = try ReferenceTensors("data/reference/onebit/student_start.safetensors")
        let teacherCheckpoint = try Checkpoint(directory: SharedData.url("models/stories260K"))
        let teacher = try Transformer(checkpoint: teacherCheckpoint)
        func tensor(_ name: String) throws -> Tensor { try .floats(start.floats(name), shape: start.shape(name)) }
        let student = try Transformer(
            configuration: teacherCheckpoint.configuration, oneBit: OneBitSettings(layerNormEpsilon: 1e-5)
        ) { name, group in
            group == .latent ? .signs(try SignMatrix(signsOf: tensor(name))) : .tensor(try tensor(name))
        }
        let tokens = try Tensor.integers(reference.integers("input_ids"), shape: reference.shape("input_ids"))
        #expect(try relativeError(teacher(tokens).logits.floats(), reference.floats("teacher_logits")) < 1e-4)
        #expect(try relativeError(student(tokens).logits.floats(), reference.floats("student_logits")) < 1e-4)

        let recipe = DistillationConfiguration.paper(for: teacherCheckpoint.configuration)
        let trained = student.trainedParameters(recipe.optimizer.learningRates)
        #expect(Set(trained.map(\.parameter.group)) == [.latent, .scales])
        let (recorded, leaves) = try student.recordingGradients(of: Set(trained.map(\.place)))
        var gradients: [Int: Tensor] = [:]
        func pass(_ weights: LossWeights, receive: BlockSchedule.Receiver) throws -> (parts: [Double], total: Double) {
            let objective = TrainingObjective.distillation(teacher: teacher, weights: weights)
            let parts = try BlockSchedule(objective: objective)(
                recorded, leaves: leaves, tokens: tokens, share: 1, receive: receive
            ).floats().map(Double.init)
            return (parts, objective.total(parts: parts, sequenceLength: tokens.shape[1]))
        }
        func expectClose(_ found: Double, _ expected: Double, _ name: String) {
            #expect(abs(found - expected) <= 1e-4 * abs(expected), "\(name): \(found), expected \(expected)")
        }
        // The reference's total and gradients are those of its recipe, which has no language-modeling loss.
        var withLanguageModel = recipe.loss.weights
        withLanguageModel.languageModel = 1
        let found = try pass(withLanguageModel) { _ in }
        expectClose(found.parts[0] * 64, parts.klBatchmean, "KL")
        expectClose(found.parts[1], parts.hiddenSum, "hidden")
        expectClose(found.parts[2], parts.studentLmLoss, "language model")
        let total = try pass(recipe.loss.weights) {
            for (place, gradient) in $0 { gradients[place] = gradient }
        }.total
        expectClose(total, parts.total, "total")

        for (place, parameter) in trained {
            var gradient = try #require(gradients[place])
            if let (input, output) = parameter.scales {
                gradient = try formedLatentGradient(
                    of: tensor(parameter.name), product: gradient,
                    inputScale: student.parameters[input].value.numbers(),
                    outputScale: student.parameters[output].value.numbers(), recipe.loss.signGradient)
                gradients[place] = gradient
            }
            let expected = try reference.floats("grad.\(parameter.name)")
            #expect(try relativeError(gradient.floats(), expected) < 1e-4, "\(parameter.name)")
        }
        expectClose(
            try jointNorm(trained.compactMap { gradients[$0.place] }), parts.gradNormTotal,
            "gradient norm")
    }
}

/// The joint 2-norm of several tensors.
private func jointNorm(_ tensors: [Tensor]) throws -> Double {
    try tensors.reduce(0) { try $0 + ($1 * $1).sum().item() }.squareRoot()
}
