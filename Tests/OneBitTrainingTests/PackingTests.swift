import Foundation
import ModelDescription
import OneBitRuntime
import SignDecomposition
import TensorFiles
import Testing

@testable import OneBitTraining

@Suite("From student to packed model")
struct PackingTests {
    /// Distills a few steps, packs, and compares libtorch's student with the runtime's packed model.
    @Test("Packed logits equal the float student's within 1e-3 relative", arguments: ["paper", "default"])
    func packedLogits(preset: String) throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        func url(_ name: String) -> URL { folder.appending(path: name) }
        try FileManager.default.createDirectory(at: url("teacher"), withIntermediateDirectories: true)
        try TinyModels.random(seed: 5).write(to: url("teacher"), elementType: .float32)
        try TinyModels.shape.configuration(beginOfSequence: 1, endOfSequence: 2)
            .write(to: url("teacher/config.json"))
        let teacher = try Checkpoint(directory: url("teacher"))
        let presets: [String: DistillationConfiguration] = [
            "paper": .paper(for: teacher.configuration), "default": .default(for: teacher.configuration),
        ]
        var distillation = TinyModels.distillation(try #require(presets[preset]), steps: 20)
        try StudentInitializer(recipe: distillation.start).run(teacher: teacher, destination: url("start"))
        distillation.optimizer.learningRates.latent = 1e-2
        let events = try Distiller(
            teacher: teacher, start: try Checkpoint(directory: url("start")), configuration: distillation,
            execution: Execution(threads: 2, microBatchSize: 2)
        ).run(
            corpus: TinyModels.tokens, output: url("student"), overwrite: false, checkpoints: nil, observe: { _ in })
        #expect(events.count == 20)

        let student = try Checkpoint(directory: url("student"))
        try CheckpointPacker().pack(student: student, destination: url("packed"))
        let tokens = TinyModels.ids.prefix(24).map(Int.init)
        let expected = try TorchModel(checkpoint: student, threads: 1).logits(of: tokens)
        let found = try PackedModel(directory: url("packed"), options: LoadOptions(threads: 1, inputPrecision: .bits16))
            .logits(of: tokens)
        let difference = zip(found, expected).reduce(0.0) { $0 + pow(Double($1.0 - $1.1), 2) }
        let norm = expected.reduce(0.0) { $0 + pow(Double($1), 2) }
        #expect((difference / norm).squareRoot() < 1e-3)
    }
}
