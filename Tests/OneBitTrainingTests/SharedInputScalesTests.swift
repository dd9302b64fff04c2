import Foundation
import JSON
import ModelDescription
import SignDecomposition
import Testing
import Torch

@testable import OneBitTraining

@Suite("Training with shared input scales")
struct SharedInputScalesTests {
    @Test("Copies of a vector stay equal to the bit through a distillation, and move")
    func copiesStayEqual() throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        func url(_ name: String) -> URL { folder.appending(path: name) }
        let configuration = try FamilyDistillationTests.Family(type: "llama").configuration()
        try FileManager.default.createDirectory(at: url("teacher"), withIntermediateDirectories: true)
        try configuration.jsonData(quantization: nil).write(to: url("teacher/config.json"))
        try Pretrainer(configuration: configuration, elementType: .float32, seed: 5).run(
            tokens: TinyModels.tokens, configuration: TinyModels.pretraining(steps: 5), into: url("teacher"),
            checkpoints: nil, observe: { _ in })
        let teacher = try Checkpoint(directory: url("teacher"))
        var recipe = StartRecipe.standard
        recipe.inputScales = .shared
        try StudentInitializer(recipe: recipe).run(teacher: teacher, destination: url("start"))
        let start = try Checkpoint(directory: url("start"))
        _ = try Distiller(
            teacher: teacher, start: start,
            configuration: TinyModels.distillation(.default(for: configuration), steps: 8),
            execution: Execution(threads: 2, microBatchSize: 2)
        ).run(
            corpus: TinyModels.tokens, output: url("student"), overwrite: false, checkpoints: nil, observe: { _ in })
        let student = try Checkpoint(directory: url("student"))
        #expect(student.configuration.quantization?.inputScales == .shared)
        try student.requireSharedInputScales()
        for linear in configuration.blockLinears(layer: 1) {
            #expect(try student.floats(of: linear.inputScaleName) != start.floats(of: linear.inputScaleName))
        }
    }

    @Test("The gradient of n copies is the vector's over √n: the norm of all of them is the vector's")
    func gradients() throws {
        let configuration = try FamilyDistillationTests.Family(type: "llama").configuration()
        let block = configuration.block(0)
        let names = block.linears.map(\.inputScaleName)
        let shared = SharedInputScales(block, of: configuration) { names.firstIndex(of: $0) ?? -1 }
        var value: Float = 0
        let given = try block.linears.enumerated().map { place, linear in
            let floats = (0..<linear.inputs).map { _ in
                value += 1
                return value
            }
            return (parameter: place, gradient: try Tensor.floats(floats, shape: [linear.inputs]))
        }
        let tied = try shared.tied(given).map { try $0.gradient.floats() }
        let before = try given.map { try $0.gradient.floats() }
        // q, k, v; o; gate, up; down.
        for channel in 0..<16 {
            let readers = (before[0][channel] + before[1][channel] + before[2][channel]) / Float(3).squareRoot()
            for place in 0..<3 { #expect(abs(tied[place][channel] - readers) < 1e-4 * readers) }
            let expanders = (before[4][channel] + before[5][channel]) / Float(2).squareRoot()
            for place in 4..<6 { #expect(abs(tied[place][channel] - expanders) < 1e-4 * expanders) }
            // Two groups of two heads of four channels.
            let first = channel / 8 * 8 + channel % 4
            let output = (before[3][first] + before[3][first + 4]) / Float(2).squareRoot()
            #expect(abs(tied[3][channel] - output) < 1e-4 * output)
        }
        #expect(tied[6] == before[6])
    }

    @Test("A student whose scales are not the same although its configuration says so is refused by name")
    func refused() throws {
        let folder = try TinyModels.temporaryDirectory()
        defer { try? FileManager.default.removeItem(at: folder) }
        let configuration = try FamilyDistillationTests.Family(type: "llama").configuration()
        let teacher = folder.appending(path: "teacher")
        try FileManager.default.createDirectory(at: teacher, withIntermediateDirectories: true)
        try configuration.jsonData(quantization: nil).write(to: teacher.appending(path: "config.json"))
        try Pretrainer(configuration: configuration, elementType: .float32, seed: 5).run(
            tokens: TinyModels.tokens, configuration: TinyModels.pretraining(steps: 1), into: teacher,
            checkpoints: nil, observe: { _ in })
        let start = folder.appending(path: "start")
        try StudentInitializer(recipe: .standard).run(
            teacher: Checkpoint(directory: teacher), destination: start)
        let file = start.appending(path: "config.json")
        let text = try String(contentsOf: file, encoding: .utf8)
            .replacingOccurrences(of: "\"bits\": 1,", with: "\"bits\": 1, \"input_scales\": \"shared\",")
        try Data(text.utf8).write(to: file)
        let student = try Checkpoint(directory: start)
        #expect {
            try Transformer(checkpoint: student)
        } throws: { error in
            guard case .inputScalesDiffer(_, let tensor, _)? = error as? CheckpointError else { return false }
            return tensor == "model.layers.0.self_attn.k_proj.input_factor"
        }
    }
}
