import Foundation
import ModelDescription
import TestSupport
import Testing

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
            linears: .oneBit(layerNormEpsilon: 1e-5, signGradient: .tanh)
        ) { try Tensor(try start.floats($0), shape: try start.shape($0)) }
        let trained = student.parameters.filter { [.latent, .scales].contains($0.group) }
        for parameter in trained { try parameter.tensor.setRequiresGradient(true) }

        let tokens = try Tensor(integers: try reference.integers("input_ids"), shape: try reference.shape("input_ids"))
        let target = try withoutGradient { try teacher(tokens, hiddenStates: true) }
        let output = try student(tokens, hiddenStates: true)
        #expect(try relativeError(target.logits.floats(), reference.floats("teacher_logits")) < 1e-4)
        #expect(try relativeError(output.logits.floats(), reference.floats("student_logits")) < 1e-4)

        let loss = try DistillationLoss(
            weights: LossWeights(klDivergence: 0.01, hiddenStates: 1, languageModel: 1)
        )(teacher: target, student: output, tokens: tokens)
        let named = Dictionary(uniqueKeysWithValues: loss.parts.map { ($0.name, $0.value) })
        func expectClose(_ found: Double, _ expected: Double, _ name: String) {
            #expect(abs(found - expected) <= 1e-4 * abs(expected), "\(name): \(found), expected \(expected)")
        }
        expectClose(try #require(named["kl_per_token"]) * 64, parts.klBatchmean, "KL")
        expectClose(try #require(named["hidden"]), parts.hiddenSum, "hidden")
        expectClose(try #require(named["language_model"]), parts.studentLmLoss, "language model")
        // The reference's total is that of its recipe, which has no language-modelling loss.
        let recipe = DistillationLoss(weights: DistillationRecipe.paper.lossWeights)
        let total = try recipe(teacher: target, student: output, tokens: tokens).total
        expectClose(try total.item(), parts.total, "total")

        try total.backward()
        for parameter in trained {
            let gradient = try #require(try parameter.tensor.gradient()).floats()
            #expect(try relativeError(gradient, reference.floats("grad.\(parameter.name)")) < 1e-4, "\(parameter.name)")
        }
        expectClose(try clipGradients(of: trained.map(\.tensor), to: 1), parts.gradNormTotal, "gradient norm")
    }
}
