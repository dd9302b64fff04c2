import Foundation
import ModelDescription
import SignDecomposition
import TensorFiles
import Torch

/// One calibration: the state that goes from block to block.
final class CalibrationRun {
    private let teacher: Checkpoint
    private let configuration: ModelConfiguration
    private let initializer: CalibratedInitializer
    private let progress: CalibratedInitializer.Progress
    private let writer: CheckpointWriter
    private let device: Device
    private let sequences: [[Int]]
    private let positions: PositionTables
    /// Residual streams [sequences, T, C] of the teacher and of the student, as far as they are calibrated.
    private let teacherStream: TensorBuffer
    private let studentStream: TensorBuffer
    /// What the student's attention gives to its output layer [sequences, T, H·D].
    private let contexts: TensorBuffer
    /// What enters the student's block; nil where blocks are not trained.
    private let inputs: TensorBuffer?
    private var reports: [CalibratedInitializer.LayerReport] = []
    private var completed = 0

    init(
        teacher: Checkpoint, sequences: [[Int]], initializer: CalibratedInitializer, directory: URL,
        progress: @escaping CalibratedInitializer.Progress
    ) throws {
        self.teacher = teacher
        configuration = teacher.configuration
        self.sequences = sequences
        self.initializer = initializer
        self.progress = progress
        device = initializer.execution.device
        positions = PositionTables(configuration, dtype: .float32, device: device)
        // Latent weights are trained: float32. Whatever stays as it is keeps the type it has.
        let plan = try configuration.tensorPlan(kind: .floatStudent, weightType: .float32, valueType: .float32) {
            try teacher.description(of: $0.name).elementType
        }
        writer = try CheckpointWriter(directory: directory, tensors: plan)
        let length = initializer.settings.sequenceLength
        let storage = initializer.settings.storage.dtype
        let width = configuration.attentionHeadCount * configuration.headSize
        teacherStream = try TensorBuffer([sequences.count, length, configuration.hiddenSize], dtype: storage)
        studentStream = try TensorBuffer([sequences.count, length, configuration.hiddenSize], dtype: storage)
        contexts = try TensorBuffer([sequences.count, length, width], dtype: storage)
        inputs =
            initializer.settings.blockSteps > 0
            ? try TensorBuffer([sequences.count, length, configuration.hiddenSize], dtype: storage) : nil
    }

    func run() throws -> [CalibratedInitializer.LayerReport] {
        try withoutGradient { try embed() }
        for layer in 0..<configuration.layerCount { try calibrate(configuration.block(layer)) }
        for tensor in configuration.outputTensors { _ = try copy(tensor) }
        try writer.finish()
        return reports
    }

    // MARK: The streams

    /// Some sequences of both streams.
    private struct Chunk {
        let first: Int
        let teacher: Tensor
        let student: Tensor
    }

    private func forEachChunk(_ body: (Chunk) throws -> Void) throws {
        let length = initializer.settings.sequenceLength
        let size = CalibratedInitializer.chunkTokens(sequenceLength: length) / length
        for first in stride(from: 0, to: sequences.count, by: size) {
            try checkCancellation()
            let count = min(size, sequences.count - first)
            func slices(_ buffer: TensorBuffer) throws -> Tensor {
                try buffer.slices(along: 0, from: first, count: count).converted(to: .float32, device: device)
            }
            try body(Chunk(first: first, teacher: slices(teacherStream), student: slices(studentStream)))
        }
    }

    /// A chunk's sequences of another buffer.
    private func slices(_ buffer: TensorBuffer, like chunk: Chunk) throws -> Tensor {
        try buffer.slices(along: 0, from: chunk.first, count: chunk.student.shape[0])
            .converted(to: .float32, device: device)
    }

    /// Fills both streams with the embeddings, which teacher and student share.
    private func embed() throws {
        var tensors: [String: Tensor] = [:]
        for tensor in configuration.inputTensors { tensors[tensor.name] = try copy(tensor) }
        let table = try require(tensors[configuration.embedding.name])
        let projection = configuration.inputProjection.flatMap { tensors[$0.name] }
        let length = initializer.settings.sequenceLength
        let learned = try configuration.positionEmbedding.flatMap { tensors[$0.name] }?
            .narrowed(0, from: positions.learnedOffset, length: length)
        for (index, sequence) in sequences.enumerated() {
            let tokens = try Tensor.integers(sequence, shape: [1, length], device: device)
            var x = try table.embedding(tokens)
            if let projection { x = try x.linear(projection) }
            x = try x.multiplied(by: configuration.structure.embeddingMultiplier)
            if let learned { x = try x + learned }
            try teacherStream.write(x, along: 0, from: index)
            try studentStream.write(x, along: 0, from: index)
        }
    }

    // MARK: One block

    private func calibrate(_ description: BlockDescription) throws {
        var (layers, block) = try withoutGradient {
            try inputs?.write(studentStream.tensor)
            return try fitted(description)
        }
        if let inputs {
            let training = BlockTraining(
                description: description, configuration: configuration, settings: initializer.settings,
                positions: try tokenPositions(), seed: initializer.seed, inputScales: initializer.recipe.inputScales)
            (layers, block) = try training.run(layers, of: block, inputs: inputs, targets: teacherStream)
        }
        for (linear, layer) in zip(description.linears, layers) {
            try checkCancellation()
            try writer.write(linear.weightName, floats: layer.latent)
            try writer.write(linear.outputScaleName, floats: layer.outputScale)
            try writer.write(linear.inputScaleName, floats: layer.inputScale)
        }
        guard description.layer + 1 < configuration.layerCount else { return }
        let positions = try tokenPositions()
        try withoutGradient {
            try forEachChunk { chunk in
                let sum: Tensor
                if let inputs {
                    sum = try block(slices(inputs, like: chunk), at: positions)
                } else {
                    sum = try block.mlpResidual.sum(
                        chunk.student, block.mlp(block.mlpResidual.input(chunk.student)))
                }
                try studentStream.write(sum, along: 0, from: chunk.first)
            }
        }
    }

    private func tokenPositions() throws -> TokenPositions {
        let length = initializer.settings.sequenceLength
        return TokenPositions(
            rotations: try positions.rotations.map {
                try $0.rows(from: 0, length: length, sequenceLength: length)
            }, learned: nil,
            attention: .sequences(try positions.masks(length: length, after: 0)))
    }

    /// Fits the layers of a block in their order. The teacher's stream then is what leaves the block, the student's what
    /// enters its MLP.
    private func fitted(_ description: BlockDescription) throws -> (layers: [CalibratedLayer], block: TransformerBlock)
    {
        let tokenPositions = try tokenPositions()
        var floats: [String: Tensor] = [:]
        for tensor in description.floatTensors { floats[tensor.name] = try copy(tensor) }
        let weights = try Dictionary(
            uniqueKeysWithValues: description.linears.map { ($0.name, try read($0.weightName)) })
        func bias(_ linear: LinearDescription) -> Tensor? { linear.bias.flatMap { floats[$0.name] } }
        let teacher = try TransformerBlock(
            description, of: configuration,
            norm: { norm in
                Norm(
                    weight: try require(floats[norm.weight.name]), bias: norm.bias.flatMap { floats[$0.name] },
                    epsilon: configuration.normEpsilon, countsFromOne: norm.countsFromOne)
            },
            linear: { .dense(weight: try require(weights[$0.name]), bias: bias($0)) })
        // The student starts as the teacher; its layers become one-bit layers one after another.
        var student = teacher
        var fittedLayers: [CalibratedLayer] = []
        /// Fits layers to what `collect` adds, and gives the student's.
        func fit(
            _ layers: [LinearDescription], _ collect: (inout LayerStatistics) throws -> Void
        ) throws -> [LinearLayer] {
            var statistics = try LayerStatistics(of: layers, device: device)
            try collect(&statistics)
            let fits = try statistics.fits(
                weights: layers.map { try require(weights[$0.name]) }, damping: initializer.settings.damping,
                of: (layers, self.teacher.directory))
            return try zip(layers, solve(layers, fits)).map { linear, layer in
                fittedLayers.append(layer)
                return try layer.linear(bias: bias(linear), device: device)
            }
        }
        /// What the teacher's layers give, without their biases, which the student has too.
        func outputs(_ layers: [LinearDescription], _ x: Tensor) throws -> [Tensor] {
            try layers.map { try x.linear(require(weights[$0.name])) }
        }
        /// What the teacher's sublayer gives, and what is missing in the student's stream.
        func corrected(_ output: Tensor, _ chunk: Chunk, _ residual: ResidualConnection) throws -> Tensor {
            let missing = try (chunk.teacher - chunk.student) * initializer.settings.residualCorrection
            return try residual.correction(missing).map { try output + $0 } ?? output
        }

        let readers = [description.query, description.key, description.value]
        let fittedReaders = try fit(readers) { statistics in
            try forEachChunk { chunk in
                let target = try outputs(readers, teacher.attentionResidual.input(chunk.teacher))
                try statistics.add(inputs: student.attentionResidual.input(chunk.student), outputs: target)
            }
        }
        (student.attention.query, student.attention.key, student.attention.value) = (
            fittedReaders[0], fittedReaders[1], fittedReaders[2]
        )

        student.attention.output = try fit([description.output]) { statistics in
            try forEachChunk { chunk in
                let context = try teacher.attention.context(
                    of: teacher.attentionResidual.input(chunk.teacher), at: tokenPositions)
                let studentContext = try student.attention.context(
                    of: student.attentionResidual.input(chunk.student), at: tokenPositions)
                try contexts.write(studentContext, along: 0, from: chunk.first)
                let target = try corrected(
                    outputs([description.output], context)[0], chunk, teacher.attentionResidual)
                try statistics.add(inputs: studentContext, outputs: [target])
                let sum = try teacher.attentionResidual.sum(chunk.teacher, teacher.attention.output(context))
                try teacherStream.write(sum, along: 0, from: chunk.first)
            }
        }[0]

        let expanders = [description.gate, description.up].compactMap(\.self)
        let fittedExpanders = try fit(expanders) { statistics in
            try forEachChunk { chunk in
                let context = try slices(contexts, like: chunk)
                let sum = try student.attentionResidual.sum(chunk.student, student.attention.output(context))
                try studentStream.write(sum, along: 0, from: chunk.first)
                let target = try outputs(expanders, teacher.mlpResidual.input(chunk.teacher))
                try statistics.add(inputs: student.mlpResidual.input(sum), outputs: target)
            }
        }
        if description.gate != nil { student.mlp.gate = fittedExpanders[0] }
        student.mlp.up = fittedExpanders[expanders.count - 1]

        student.mlp.down = try fit([description.down]) { statistics in
            try forEachChunk { chunk in
                let activation = try teacher.mlp.activation(of: teacher.mlpResidual.input(chunk.teacher))
                let target = try corrected(outputs([description.down], activation)[0], chunk, teacher.mlpResidual)
                let studentActivation = try student.mlp.activation(of: student.mlpResidual.input(chunk.student))
                try statistics.add(inputs: studentActivation, outputs: [target])
                let sum = try teacher.mlpResidual.sum(chunk.teacher, teacher.mlp.down(activation))
                try teacherStream.write(sum, along: 0, from: chunk.first)
            }
        }[0]
        return (fittedLayers, student)
    }

    // MARK: Tensors

    /// Writes a tensor that stays in float, and gives it.
    private func copy(_ tensor: TensorShape) throws -> Tensor {
        try checkCancellation()
        let floats = try teacher.floats(of: tensor.name)
        try writer.write(tensor.name, floats: floats)
        try teacher.releasePages(of: tensor.name)
        try advance(by: tensor.elementCount, nil)
        return try .floats(floats, shape: tensor.shape, device: device)
    }

    private func read(_ name: String) throws -> Tensor {
        try checkCancellation()
        return try teacher.tensor(name).converted(to: .float32, device: device)
    }

    /// Solves the problems of layers that read one vector.
    private func solve(_ layers: [LinearDescription], _ fits: [LayerFit]) throws -> [CalibratedLayer] {
        let recipe = initializer.recipe
        let optima = try fits.map { try $0.denseOptimum() }
        let isShared = recipe.inputScales == .shared
        let groups =
            layers == [configuration.block(layers[0].layer).output] && isShared ? HeadGroups(configuration) : nil
        func decomposed(_ weights: ArraySlice<Tensor>, number: Int) throws -> [SignValueDecomposition] {
            try decomposeTogether(
                weights.map { try $0.floats() }, columns: layers[0].inputs, groups: groups, method: recipe.method,
                scaleSplit: .balanced, seed: initializer.seed &+ UInt64(number))
        }
        let number = reports.count
        let factors =
            isShared
            ? try decomposed(optima[...], number: number)
            : try optima.indices.flatMap { try decomposed(optima[$0...$0], number: number + $0) }
        return try layers.indices.map { index in
            let layer = try fits[index].solved(
                from: optima[index], factors: factors[index], recipe: recipe, sweeps: initializer.settings.sweeps)
            let report = CalibratedInitializer.LayerReport(
                name: layers[index].name, relativeError: layer.relativeError)
            reports.append(report)
            try advance(by: layers[index].weightCount, report)
            return layer
        }
    }

    private func advance(by weights: Int, _ report: CalibratedInitializer.LayerReport?) throws {
        completed += weights
        try progress(completed, configuration.parameterCount, report)
    }
}

/// A tensor of a block that its description names.
private func require(_ tensor: Tensor?) throws -> Tensor {
    guard let tensor else { preconditionFailure("a tensor that the block's description does not name") }
    return tensor
}
