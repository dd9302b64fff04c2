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
        let student = try Transformer(
            configuration: teacherCheckpoint.configuration,
            oneBit: OneBitSettings(layerNormEpsilon: 1e-5, signGradient: .tanh)
        ) { try Tensor.floats(try start.floats($0), shape: try start.shape($0)).requiringGradient() }
        let trained = student.parameters.filter { [.latent, .scales].contains($0.group) }

        let tokens = try Tensor.integers(reference.integers("input_ids"), shape: reference.shape("input_ids"))
        let target = try withoutGradient { try teacher(tokens, hiddenStates: true) }
        let output = try student(tokens, hiddenStates: true)
        #expect(try relativeError(target.logits.floats(), reference.floats("teacher_logits")) < 1e-4)
        #expect(try relativeError(output.logits.floats(), reference.floats("student_logits")) < 1e-4)

        let loss = try DistillationLoss(
            weights: LossWeights(klDivergence: 0.01, hiddenStates: 1, languageModel: 1)
        )(teacher: target, student: output, tokens: tokens)
        let named = try Dictionary(uniqueKeysWithValues: loss.parts.map { ($0.name, try $0.value.item()) })
        func expectClose(_ found: Double, _ expected: Double, _ name: String) {
            #expect(abs(found - expected) <= 1e-4 * abs(expected), "\(name): \(found), expected \(expected)")
        }
        expectClose(try #require(named["kl_per_token"]) * 64, parts.klBatchmean, "KL")
        expectClose(try #require(named["hidden"]), parts.hiddenSum, "hidden")
        expectClose(try #require(named["language_model"]), parts.studentLmLoss, "language model")
        // The reference's total is that of its recipe, which has no language-modelling loss.
        let recipe = DistillationLoss(
            weights: DistillationConfiguration.paper(for: teacherCheckpoint.configuration).loss.weights)
        let total = try recipe(teacher: target, student: output, tokens: tokens).total
        expectClose(try total.item(), parts.total, "total")

        let gradients = try total.gradients(by: trained.map(\.tensor)).compactMap(\.self)
        #expect(gradients.count == trained.count)
        for (parameter, gradient) in zip(trained, gradients) {
            let expected = try reference.floats("grad.\(parameter.name)")
            #expect(try relativeError(gradient.floats(), expected) < 1e-4, "\(parameter.name)")
        }
        expectClose(try Tensor.jointNorm(gradients), parts.gradNormTotal, "gradient norm")
    }
}
