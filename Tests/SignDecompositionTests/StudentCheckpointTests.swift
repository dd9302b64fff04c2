import Foundation
import JSON
import ModelDescription
import SignDecomposition
import TensorFiles
import Testing

/// The stages from a dense teacher to a packed checkpoint and back, on a model of a few hundred weights.
struct StudentCheckpointTests {
    let root: URL
    var teacherURL: URL { root.appending(path: "teacher") }
    var studentURL: URL { root.appending(path: "student") }
    var packedURL: URL { root.appending(path: "packed") }

    init() throws {
        root = FileManager.default.temporaryDirectory.appending(path: "onebit-student-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: teacherURL, withIntermediateDirectories: true)
        let configuration = try ModelConfiguration(
            vocabularySize: 11,
            hiddenSize: 12,
            intermediateSize: 9,
            layerCount: 2,
            attentionHeadCount: 2,
            maximumPositions: 16,
            tiedEmbeddings: false
        )
        let plan = configuration.tensorPlan(kind: .dense, weightType: .bfloat16, valueType: .bfloat16) { _ in .bfloat16
        }
        let writer = try CheckpointWriter(directory: teacherURL, tensors: plan)
        for tensor in plan { try writer.write(tensor.name, floats: Self.values(tensor)) }
        try writer.finish()
        try configuration.jsonData(quantization: nil).write(to: teacherURL.appending(path: "config.json"))
        try Data("{}".utf8).write(to: teacherURL.appending(path: "tokenizer.json"))
    }

    /// Multiples of 1/64, exact in bfloat16, zeros among them.
    private static func values(_ tensor: TensorDescription) -> [Float] {
        var state = UInt64(tensor.name.utf8.reduce(5381) { ($0 &* 33) ^ UInt64($1) })
        return (0..<tensor.elementCount).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(Int(state >> 57) - 64) / 64
        }
    }

    private func withCleanup(_ body: () throws -> Void) rethrows {
        defer { try? FileManager.default.removeItem(at: root) }
        try body()
    }

    @Test("The paper's start has 0.01·sign and the vectors of the factorization; the rest stays as it is")
    func paperStart() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            let reports = try StudentInitializer(recipe: .paper, seed: 1).run(teacher: teacher, destination: studentURL)
            let student = try Checkpoint(directory: studentURL)
            #expect(student.kind == .floatStudent)
            #expect(student.configuration.quantization?.postLayerNorm == true)
            #expect(reports.count == 14)
            for (number, linear) in teacher.configuration.linears.enumerated() {
                let weight = try teacher.floats(of: linear.weightName)
                let expected = try decompose(
                    weight,
                    rows: linear.outputs,
                    columns: linear.inputs,
                    method: .nmf,
                    seed: 1 + UInt64(number)
                )
                #expect(try student.floats(of: linear.weightName) == weight.map { $0 < 0 ? -0.01 : 0.01 })
                #expect(try student.floats(of: linear.outputScaleName) == expected.outputScale)
                #expect(try student.floats(of: linear.inputScaleName) == expected.inputScale)
            }
            for tensor in teacher.configuration.floatTensors {
                #expect(try student.description(of: tensor.name) == teacher.description(of: tensor.name))
                #expect(try student.floats(of: tensor.name) == teacher.floats(of: tensor.name))
            }
            #expect(FileManager.default.fileExists(atPath: studentURL.appending(path: "tokenizer.json").path))
        }
    }

    @Test("The default start keeps W, balances the vectors and drops the LayerNorm")
    func defaultStart() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            try StudentInitializer(recipe: .standard).run(teacher: teacher, destination: studentURL)
            let student = try Checkpoint(directory: studentURL)
            #expect(student.configuration.quantization?.postLayerNorm == false)
            for linear in teacher.configuration.linears {
                #expect(try student.floats(of: linear.weightName) == teacher.floats(of: linear.weightName))
            }
        }
    }

    @Test(
        "Packing keeps every sign, and unpacking gives 0.01·sign again, in shards too",
        arguments: [100, Int.max / 4]
    )
    func packAndUnpack(limit: Int) throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            try StudentInitializer(recipe: .paper, shardByteLimit: limit).run(teacher: teacher, destination: studentURL)
            let student = try Checkpoint(directory: studentURL)
            let packer = CheckpointPacker(valueType: .float32, shardByteLimit: limit)
            try packer.pack(student: student, destination: packedURL)
            let packed = try Checkpoint(directory: packedURL)
            #expect(packed.kind == .packed)
            for linear in teacher.configuration.linears {
                let weight = try teacher.floats(of: linear.weightName)
                #expect(try packed.signs(of: linear).floats() == weight.map { $0 < 0 ? -1 : 1 })
                #expect(try packed.description(of: linear.weightName).elementType == .int8)
            }
            let againURL = root.appending(path: "again")
            try packer.unpack(packed: packed, destination: againURL)
            let again = try Checkpoint(directory: againURL)
            for name in student.tensors.keys {
                #expect(try again.floats(of: name) == student.floats(of: name), "\(name)")
            }
            let summary = try CheckpointSummary(packed)
            #expect(summary.byteCount == packed.byteCount)
            #expect(summary.linearBitsPerWeight < 16)
        }
    }

    @Test("A vector that half precision cannot hold is an error naming it, and nothing is left")
    func halfOverflow() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            try StudentInitializer(recipe: .paper).run(teacher: teacher, destination: studentURL)
            let configuration = try Checkpoint(directory: studentURL).configuration
            let plan = configuration.tensorPlan(kind: .floatStudent, weightType: .float32, valueType: .float32) { _ in
                .float32
            }
            let writer = try CheckpointWriter(directory: studentURL, tensors: plan)
            for tensor in plan {
                try writer.write(tensor.name, floats: [Float](repeating: 70_000, count: tensor.elementCount))
            }
            try writer.finish()
            let student = try Checkpoint(directory: studentURL)
            #expect(throws: CheckpointWriterError.self) {
                try CheckpointPacker().pack(student: student, destination: packedURL)
            }
            #expect(!FileManager.default.fileExists(atPath: packedURL.path))
            #expect(try FileManager.default.contentsOfDirectory(atPath: root.path).sorted() == ["student", "teacher"])
            try CheckpointPacker(valueType: .float32).pack(student: student, destination: packedURL)
        }
    }

    @Test("The element type of the value vectors is stated for all layers, not for the first alone")
    func valueType() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            try StudentInitializer(recipe: .paper).run(teacher: teacher, destination: studentURL)
            let configuration = try Checkpoint(directory: studentURL).configuration
            for (other, expected) in [(ElementType.float16, ElementType.float16), (.bfloat16, .float32)] {
                let plan = configuration.tensorPlan(
                    kind: .floatStudent, weightType: .float32, valueType: .float16
                ) { _ in .float32 }.map { tensor in
                    let isOther = tensor.name.hasSuffix("layers.1.mlp.down_proj.input_factor")
                    return isOther
                        ? TensorDescription(name: tensor.name, elementType: other, shape: tensor.shape) : tensor
                }
                let writer = try CheckpointWriter(directory: studentURL, tensors: plan)
                for tensor in plan {
                    try writer.write(tensor.name, floats: [Float](repeating: 0.5, count: tensor.elementCount))
                }
                try writer.finish()
                let student = try Checkpoint(directory: studentURL)
                try CheckpointPacker(valueType: nil).pack(student: student, destination: packedURL, overwrite: true)
                #expect(try Checkpoint(directory: packedURL).configuration.quantization?.valueType == expected)
            }
        }
    }

    @Test("The wrong kind of checkpoint, an existing output and the input as output are refused, all untouched")
    func refusals() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            #expect(throws: CheckpointError.self) {
                try CheckpointPacker().pack(student: teacher, destination: packedURL)
            }
            for overwrite in [false, true] {
                #expect(throws: FileError.self) {
                    try StudentInitializer(recipe: .paper).run(
                        teacher: teacher,
                        destination: teacherURL,
                        overwrite: overwrite
                    )
                }
            }
            try StudentInitializer(recipe: .paper).run(teacher: teacher, destination: studentURL)
            #expect(throws: FileError.self) {
                try StudentInitializer(recipe: .standard).run(teacher: teacher, destination: studentURL)
            }
            let student = try Checkpoint(directory: studentURL)
            #expect(student.configuration.quantization?.postLayerNorm == true)
            #expect(throws: CheckpointError.self) {
                try StudentInitializer(recipe: .paper).run(teacher: student, destination: packedURL)
            }
        }
    }

    @Test("Stopped at any tensor, a stage leaves nothing that looks finished; progress ends at the whole")
    func stoppedAnywhere() throws {
        struct Stop: Error {}
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            var steps: [(Int, Int)] = []
            for stop in [1, 5, 20] {
                var count = 0
                #expect(throws: Stop.self) {
                    try StudentInitializer(recipe: .paper).run(teacher: teacher, destination: studentURL) { _, _ in
                        count += 1
                        #expect(!FileManager.default.fileExists(atPath: studentURL.path))
                        if count == stop { throw Stop() }
                    }
                }
                #expect(try FileManager.default.contentsOfDirectory(atPath: root.path) == ["teacher"])
            }
            try StudentInitializer(recipe: .paper).run(teacher: teacher, destination: studentURL) {
                steps.append(($0, $1))
            }
            #expect(steps.last.map { $0.0 == $0.1 } == true)
            #expect(steps.count == 14 + 4 + 3)
        }
    }

    @Test("Each tensor is on the disk before the next is read: memory holds one at a time")
    func streaming() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            // With a limit of one byte every tensor is a file of its own, closed when it is whole.
            let initializer = StudentInitializer(recipe: .paper, shardByteLimit: 1)
            var written: [Int] = []
            try initializer.run(teacher: teacher, destination: studentURL) { _, _ in
                let staged = try FileManager.default.contentsOfDirectory(atPath: root.path).filter { $0.hasPrefix(".") }
                let files = try FileManager.default.contentsOfDirectory(
                    atPath: root.appending(path: try #require(staged.first)).path
                )
                written.append(files.count)
            }
            // One file after a tensor that stays, three after a linear.
            let expected = teacher.configuration.parts.reduce(into: [0]) { counts, slot in
                let files = if case .linear = slot { 3 } else { 1 }
                counts.append(counts[counts.count - 1] + files)
            }
            #expect(written == Array(expected.dropFirst()))
        }
    }

    @Test("One seed gives the same bytes")
    func sameBytes() throws {
        try withCleanup {
            let teacher = try Checkpoint(directory: teacherURL)
            for url in [studentURL, packedURL] {
                try StudentInitializer(recipe: .standard, seed: 4).run(teacher: teacher, destination: url)
            }
            for name in ["model.safetensors", "config.json"] {
                #expect(
                    try Data(contentsOf: studentURL.appending(path: name))
                        == Data(contentsOf: packedURL.appending(path: name))
                )
            }
        }
    }
}
