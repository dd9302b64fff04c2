import Foundation
import ModelDescription
import OneBitRuntime
import SignDecomposition
import TensorFiles
import Testing
@testable import OneBitTraining


@Suite("From student to packed model")
struct PackingTests {
    /// Distils a few steps, packs, and compares libtorch's student with the runtime's packed model.
    @Test("Packed logits equal the float student's within 1e-3 relative", arguments: RecipeName.allCases)
    func packedLogits(recipe: RecipeName) throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        func url(_ name: String) -> URL { folder.appending(path: name) }
        try FileManager.default.createDirectory(at: url("teacher"), withIntermediateDirectories: true)
        try TinyModels.random(seed: 5).write(to: url("teacher"), elementType: .float32)
        try TinyModels.shape.configuration(beginOfSequence: 1, endOfSequence: 2)
            .write(to: url("teacher/config.json"))
        let teacher = try Checkpoint(directory: url("teacher"))
        try StudentInitializer(recipe: recipe.start).run(teacher: teacher, destination: url("start"))
        var distillation = recipe.distillation
        distillation.optimizer.learningRates.latent = 1e-2
        let events = try Distiller(
            teacher: teacher, start: try Checkpoint(directory: url("start")), recipe: distillation
        ).run(
            corpus: TinyModels.tokens, budget: TinyModels.plan(steps: 20).budget, threads: 2, output: url("student"),
            overwrite: false, checkpoints: nil, observe: { _ in })
        #expect(events.count == 20)

        let student = try Checkpoint(directory: url("student"))
        try CheckpointPacker().pack(student: student, destination: url("packed"))
        let tokens = TinyModels.tokens.prefix(24).map(Int.init)
        let expected = try TorchModel(checkpoint: student, threads: 1).logits(of: tokens)
        let found = try PackedModel(directory: url("packed"), options: LoadOptions(threads: 1, inputPrecision: .bits16))
            .logits(of: tokens)
        let difference = zip(found, expected).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) }
        let norm = expected.reduce(0.0) { $0 + pow(Double($1), 2) }
        #expect((difference / norm).squareRoot() < 1e-3)
    }
}
