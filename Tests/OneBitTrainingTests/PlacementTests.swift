import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import Testing
import Torch

@testable import OneBitTraining

@Suite("Placements")
struct PlacementTests {
    /// A teacher and a start checkpoint in a folder.
    private func prepare(_ family: FamilyDistillationTests.Family, in folder: URL) throws -> ModelConfiguration {
        let configuration = try family.configuration()
        let teacher = folder.appending(path: "teacher")
        try FileManager.default.createDirectory(at: teacher, withIntermediateDirectories: true)
        try configuration.jsonData(quantization: nil).write(to: teacher.appending(path: "config.json"))
        try Pretrainer(configuration: configuration, elementType: .bfloat16, seed: 5).run(
            tokens: TinyModels.tokens, configuration: TinyModels.pretraining(steps: 4), into: teacher,
            checkpoints: nil, observe: { _ in })
        try StudentInitializer(recipe: .standard).run(
            teacher: Checkpoint(directory: teacher), destination: folder.appending(path: "start"))
        return configuration
    }

    @Test(
        "Where state and teacher are kept changes no bit of the student and of the log",
        arguments: FamilyDistillationTests.families, [1, 2])
    func sameBytes(family: FamilyDistillationTests.Family, threads: Int) throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        let configuration = try prepare(family, in: folder)
        func result(_ placement: Placement, keptActivations: Int = Execution.fewActivations) throws -> [Data] {
            let output = folder.appending(path: "\(placement.rawValue)-\(keptActivations)")
            var execution = Execution(threads: threads, microBatchSize: 1, placement: placement)
            execution.keptActivations = keptActivations
            try Distiller(
                teacher: Checkpoint(directory: folder.appending(path: "teacher")),
                start: Checkpoint(directory: folder.appending(path: "start")),
                configuration: TinyModels.distillation(.default(for: configuration), steps: 6),
                execution: execution
            ).run(
                corpus: TinyModels.tokens, output: output, overwrite: false, checkpoints: nil, observe: { _ in })
            return try ["model.safetensors", "training_log.jsonl"].map {
                try Data(contentsOf: output.appending(path: $0))
            }
        }
        let resident = try result(.resident)
        #expect(try result(.host) == resident)
        #expect(try result(.streamed) == resident)
        #expect(try result(.host, keptActivations: 0) == resident)
    }

    @Test(
        "A step is measured with the precision, the micro-batch and the placement that the run will have",
        arguments: [Precision.float32, .bfloat16], [Placement.resident, .host])
    func measured(precision: Precision, placement: Placement) throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        let configuration = try prepare(FamilyDistillationTests.families[0], in: folder)
        var distillation = TinyModels.distillation(.default(for: configuration), steps: 1)
        distillation.precision = precision
        let cost = try Distiller.measureStep(
            teacher: Checkpoint(directory: folder.appending(path: "teacher")), configuration: distillation,
            execution: Execution(threads: 1, microBatchSize: 2, placement: placement))
        #expect(cost.secondsPerToken > 0 && cost.secondsPerToken.isFinite)
        #expect(cost.optimizerSeconds > 0 && cost.optimizerSeconds.isFinite)
    }

    @Test("A model that is pretrained lies where the pretraining computes")
    func pretraining() throws {
        let family = FamilyDistillationTests.families[0]
        let model = try Pretrainer(
            configuration: family.configuration(), elementType: .float32, seed: 1, device: .meta
        ).evaluated.model
        #expect(model.device == .meta)
        for parameter in model.parameters {
            guard case .tensor(let tensor) = parameter.value else { continue }
            #expect(tensor.device == .meta, "\(parameter.name)")
        }
    }

    @Test("Gradients come down in the order in which they were computed, each with its parameter")
    func downloads() throws {
        var received: [(Int, [Float])] = []
        func receive(_ gradients: GradientDownloads.Gradients) throws {
            received += try gradients.map { ($0, try $1.floats()) }
        }
        let downloads = try GradientDownloads(from: .cpu)
        for block in 0..<4 {
            try downloads.add(
                [0, 1].map { (2 * block + $0, try .full(Double(10 * block + $0), shape: [2])) }, receive: receive)
            // The last block's are still on their way.
            #expect(received.count == 2 * block)
        }
        try downloads.finish(receive: receive)
        #expect(received.map(\.0) == Array(0..<8))
        #expect(received.map { $0.1[0] } == [0, 1, 10, 11, 20, 21, 30, 31])
    }
}

/// Passes on the meta device, whose tensors have no elements: one that is made on another device is refused where it meets
/// the model's.
@Suite("Passes on another device than the CPU")
struct DevicePassTests {
    private func model(
        _ configuration: ModelConfiguration, oneBit: OneBitSettings?, computeType: DType
    ) throws -> Transformer {
        var shapes: [String: [Int]] = [:]
        for linear in configuration.linears {
            shapes[linear.weightName] = [linear.outputs, linear.inputs]
            shapes[linear.inputScaleName] = [linear.inputs]
            shapes[linear.outputScaleName] = [linear.outputs]
        }
        for tensor in configuration.floatTensors { shapes[tensor.name] = tensor.shape }
        return try Transformer(configuration: configuration, oneBit: oneBit, computeType: computeType, device: .meta) {
            let shape = try #require(shapes[$0])
            if $1 == .latent {
                let bits = try Tensor.full(0, shape: [shape[0], (shape[1] + 7) / 8], dtype: .uint8, device: .meta)
                return .signs(try SignMatrix(bits: bits, columns: shape[1]))
            }
            return .tensor(
                try .full(0, shape: shape, dtype: oneBit == nil ? computeType : .float32, device: .meta))
        }
    }

    /// A distillation's forward and backward pass, with gradients of everything.
    private func expectPass(
        _ configuration: ModelConfiguration, batch: Int, length: Int, computeType: DType
    ) throws {
        let teacher = try model(configuration, oneBit: nil, computeType: computeType)
        let student = try model(
            configuration, oneBit: OneBitSettings(layerNormEpsilon: 1e-5), computeType: computeType)
        let weights = LossWeights(klDivergence: 0.01, hiddenStates: 1, languageModel: 1)
        let objective = TrainingObjective.distillation(teacher: teacher, weights: weights)
        let (recorded, leaves) = try student.recordingGradients(of: Set(student.parameters.indices))
        let tokens = try Tensor.integers(
            [Int](repeating: 1, count: batch * length), shape: [batch, length], device: .meta)
        var found: Set<Int> = []
        let parts = try BlockSchedule(objective: objective)(recorded, leaves: leaves, tokens: tokens, share: 1) {
            for (place, gradient) in $0 {
                #expect(gradient.shape == student.parameters[place].shape)
                #expect(gradient.device == .meta)
                found.insert(place)
            }
        }
        #expect(found.count == student.parameters.count)
        #expect(parts.shape == [3])
        #expect(parts.device == .meta)
    }

    @Test("A family's pass makes all of its tensors on the model's device", arguments: FamilyDistillationTests.families)
    func families(family: FamilyDistillationTests.Family) throws {
        try expectPass(family.configuration(), batch: 3, length: 10, computeType: .float32)
        try expectPass(family.configuration(), batch: 3, length: 10, computeType: .bfloat16)
    }

    @Test("LLaMA-7B's whole pass has the right shapes", arguments: [DType.bfloat16])
    func llama7B(computeType: DType) throws {
        try expectPass(ModelConfiguration(shape: "llama-7b"), batch: 4, length: 2048, computeType: computeType)
    }
}
