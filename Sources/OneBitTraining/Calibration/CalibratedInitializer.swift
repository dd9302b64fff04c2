import Foundation
import LanguageModel
import ModelDescription
import SignDecomposition
import TensorFiles
import Torch

/// Makes the start checkpoint of a student from a dense teacher and a text: every layer's signs and scales are fitted to what
/// the teacher gives on it.
///
/// Block by block, in the order of the model. Of each block, the layers that read one vector (q, k, v; o; gate, up; down) are
/// fitted together, on the inputs that the student with all layers before them calibrated already gives them, to the
/// outputs that the teacher gives on its own. In memory are one block of each, and the residual streams of both for all
/// calibration tokens; the checkpoint is written tensor by tensor.
public struct CalibratedInitializer: Sendable {
    /// What to make of each layer.
    public var recipe: StartRecipe
    public var settings: CalibrationSettings
    /// Of the decompositions' random starts.
    public var seed: UInt64
    /// Threads, device.
    public var execution: Execution

    public init(
        recipe: StartRecipe, settings: CalibrationSettings, seed: UInt64 = 0, execution: Execution = Execution()
    ) {
        self.recipe = recipe
        self.settings = settings
        self.seed = seed
        self.execution = execution
    }

    /// How well one layer was fitted.
    public struct LayerReport: Sendable, Hashable {
        /// The layer, e.g. `model.layers.0.self_attn.q_proj`.
        public let name: String
        /// ‖X Ŵᵀ − Y‖ / ‖Y‖ on the calibration text, the pull towards the teacher's weights included.
        public let relativeError: Double
    }

    /// Called after each tensor with the weights done and those of the whole model, and the last layer's report.
    public typealias Progress = (_ completed: Int, _ total: Int, LayerReport?) throws -> Void

    /// Reads `teacher`, writes the float student to `destination`; nothing is there until it is complete.
    ///
    /// - Parameters:
    ///   - teacher: A dense checkpoint.
    ///   - text: Its tokens; sequences are taken at equal distances from all of each stream.
    ///   - destination: The directory to make.
    ///   - overwrite: Whether a directory that stands there is replaced.
    ///   - progress: Receives what is done.
    /// - Returns: A report for every layer.
    /// - Throws: ``CalibrationError``, ``TrainingError/corpusTooShort(tokens:segment:)``, `LanguageModelError` where memory
    ///   does not suffice, the errors of checkpoints and their files, `CancellationError`; the destination is then untouched.
    @discardableResult
    public func run(
        teacher: Checkpoint, text: TrainingCorpus, destination: URL, overwrite: Bool = false,
        progress: Progress = { _, _, _ in }
    ) throws -> [LayerReport] {
        try teacher.require(.dense)
        try teacher.validateOutput(destination)
        try validate(for: teacher.configuration)
        let sequences = try sequences(of: text)
        try AvailableMemory.require(
            cost(for: teacher.configuration, textTokens: text.count).bytes, for: "Calibration")
        return try StagedDirectory.write(to: destination, overwrite: overwrite) { directory in
            let reports = try withoutActuallyEscaping(progress) { progress in
                try withStopTest(threadsPerOperation: threadsPerOperation(for: teacher.configuration)) {
                    try CalibrationRun(
                        teacher: teacher, sequences: sequences, initializer: self, directory: directory,
                        progress: progress
                    ).run()
                }
            }
            let quantization = QuantizationConfiguration(
                checkpointFormat: .float, postLayerNorm: false, valueType: .float32)
            try writeAtomically(
                teacher.configuration.jsonData(quantization: quantization),
                to: directory.appending(path: "config.json"))
            try teacher.copyAuxiliaryFiles(to: directory)
            return reports
        }
    }

    /// - Throws: ``CalibrationError``, ``TrainingError/invalidSetting(name:value:expected:)``
    public func validate(for teacher: ModelConfiguration) throws {
        guard !recipe.postLayerNorm else { throw CalibrationError.layerNormBehindLayers }
        guard recipe.method != .copy else { throw CalibrationError.unitScales }
        try settings.validate(for: teacher)
    }

    /// Sequences of equal length: of each stream its share, at equal distances.
    private func sequences(of text: TrainingCorpus) throws -> [[Int]] {
        let length = settings.sequenceLength
        var sequences: [[Int]] = []
        for (part, share) in zip(text.parts, text.shares) {
            let available = part.tokens.count / length
            let count = min(available, Int((share * Double(settings.tokens / length)).rounded()))
            for index in 0..<count {
                let first = index * available / count * length
                var sequence: [Int] = []
                try part.tokens.forEach(in: first..<first + length) { sequence.append($0) }
                sequences.append(sequence)
            }
        }
        guard !sequences.isEmpty else { throw TrainingError.corpusTooShort(tokens: text.count, segment: length) }
        return sequences
    }

    /// What a calibration takes.
    public struct Cost: Sendable, Hashable {
        /// Tokens that are calibrated on.
        public let tokens: Int
        /// Bytes of the residual streams, one block of each model, and the largest layer's problem.
        public let bytes: Int
        /// Multiplications with an addition each.
        public let multiplications: Double

        /// Seconds on this machine, at the rate of one product of matrices that is timed now.
        public func seconds() throws -> Double {
            let size = 768
            let matrix = try Tensor.full(1, shape: [size, size])
            _ = try matrix.linear(matrix)
            let begin = ContinuousClock.now
            for _ in 0..<4 { _ = try matrix.linear(matrix) }
            let rate = 4 * Double(size * size * size) / ((ContinuousClock.now - begin) / .seconds(1))
            return multiplications / rate
        }
    }

    /// What a calibration takes, for a text of so many tokens.
    public func cost(for teacher: ModelConfiguration, textTokens: Int) -> Cost {
        let length = settings.sequenceLength
        let tokens = min(textTokens / length, settings.tokens / length) * length
        let streams =
            tokens
            * ((settings.blockSteps > 0 ? 3 : 2) * teacher.hiddenSize + teacher.attentionHeadCount * teacher.headSize)
        let linears = teacher.blockLinears(layer: 0)
        let block = linears.reduce(0) { $0 + $1.weightCount }
        let largestInput = linears.map(\.inputs).max() ?? 0
        let largestLayer = linears.map(\.weightCount).max() ?? 0
        // The Gram matrix, damped and factored; of a layer C, W, T, ŵ, and the copies that files and Swift want.
        let problem = 3 * largestInput * largestInput + 8 * largestLayer
        let chunk = Self.chunkTokens(sequenceLength: length) * 6 * max(teacher.intermediateSize, teacher.hiddenSize)
        // Forward twice through most of either block, sums of products, then the layers' equations.
        let perToken =
            linears.reduce(0.0) { $0 + 4.5 * Double($1.weightCount) }
            + [linears[0].inputs, linears[3].inputs, teacher.hiddenSize, teacher.intermediateSize]
            .reduce(0.0) { $0 + Double($1 * $1) * 0.6 }
        let perBlock = linears.reduce(0.0) {
            $0 + Double($1.weightCount) * Double($1.inputs) * Double(4 + 2 * settings.sweeps)
        }
        let trainedTokens = settings.blockSteps * BlockTraining.stepTokens(sequenceLength: length)
        let training = 4 * Double(block) * Double(trainedTokens)
        // Latent weights, gradients and both moments; a step's activations.
        let trained = trainedTokens > 0 ? 4 * block + 2 * chunk : 0
        return Cost(
            tokens: tokens,
            bytes: settings.storage.byteWidth * streams + 4 * (2 * block + problem + chunk + trained),
            multiplications: Double(teacher.layerCount) * (perToken * Double(tokens) + perBlock + training))
    }

    /// Tokens of one pass through a block.
    static func chunkTokens(sequenceLength: Int) -> Int { max(1, 1024 / sequenceLength) * sequenceLength }

    private func threadsPerOperation(for teacher: ModelConfiguration) -> Int {
        Collective(threads: execution.threads, parameters: teacher.parameterCount).threadsPerWorker
    }
}

/// One calibration: the state that goes from block to block.
private final class CalibrationRun {
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
                positions: try tokenPositions(), seed: initializer.seed)
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
                    sum = try block.sum(
                        chunk.student, block.mlp(block.input(chunk.student, block.mlpNorm)), block.mlpNorm)
                }
                try studentStream.write(sum, along: 0, from: chunk.first)
            }
        }
    }

    private func tokenPositions() throws -> TokenPositions {
        let length = initializer.settings.sequenceLength
        return TokenPositions(
            rotary: try positions.rotary?.rows(from: 0, length: length, sequenceLength: length), learned: nil,
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
                    epsilon: configuration.normEpsilon)
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
            return try zip(layers, fits).map { linear, fit in
                let layer = try solve(linear, fit)
                fittedLayers.append(layer)
                return try layer.linear(bias: bias(linear), device: device)
            }
        }
        /// What the teacher's layers give, without their biases, which the student has too.
        func outputs(_ layers: [LinearDescription], _ x: Tensor) throws -> [Tensor] {
            try layers.map { try x.linear(require(weights[$0.name])) }
        }
        /// What is missing in the student's stream.
        func correction(_ chunk: Chunk) throws -> Tensor {
            try (chunk.teacher - chunk.student) * initializer.settings.residualCorrection
        }

        let readers = [description.query, description.key, description.value]
        let fittedReaders = try fit(readers) { statistics in
            try forEachChunk { chunk in
                let target = try outputs(readers, teacher.input(chunk.teacher, teacher.attentionNorm))
                try statistics.add(inputs: student.input(chunk.student, student.attentionNorm), outputs: target)
            }
        }
        (student.attention.query, student.attention.key, student.attention.value) = (
            fittedReaders[0], fittedReaders[1], fittedReaders[2]
        )

        student.attention.output = try fit([description.output]) { statistics in
            try forEachChunk { chunk in
                let context = try teacher.attention.context(
                    of: teacher.input(chunk.teacher, teacher.attentionNorm), at: tokenPositions)
                let studentContext = try student.attention.context(
                    of: student.input(chunk.student, student.attentionNorm), at: tokenPositions)
                try contexts.write(studentContext, along: 0, from: chunk.first)
                let target = try outputs([description.output], context)[0] + correction(chunk)
                try statistics.add(inputs: studentContext, outputs: [target])
                let sum = try teacher.sum(chunk.teacher, teacher.attention.output(context), teacher.attentionNorm)
                try teacherStream.write(sum, along: 0, from: chunk.first)
            }
        }[0]

        let expanders = [description.gate, description.up].compactMap(\.self)
        let fittedExpanders = try fit(expanders) { statistics in
            try forEachChunk { chunk in
                let context = try slices(contexts, like: chunk)
                let sum = try student.sum(chunk.student, student.attention.output(context), student.attentionNorm)
                try studentStream.write(sum, along: 0, from: chunk.first)
                let target = try outputs(expanders, teacher.input(chunk.teacher, teacher.mlpNorm))
                try statistics.add(inputs: student.input(sum, student.mlpNorm), outputs: target)
            }
        }
        if description.gate != nil { student.mlp.gate = fittedExpanders[0] }
        student.mlp.up = fittedExpanders[expanders.count - 1]

        student.mlp.down = try fit([description.down]) { statistics in
            try forEachChunk { chunk in
                let activation = try teacher.mlp.activation(of: teacher.input(chunk.teacher, teacher.mlpNorm))
                let target = try outputs([description.down], activation)[0] + correction(chunk)
                let studentActivation = try student.mlp.activation(of: student.input(chunk.student, student.mlpNorm))
                try statistics.add(inputs: studentActivation, outputs: [target])
                let sum = try teacher.sum(chunk.teacher, teacher.mlp.down(activation), teacher.mlpNorm)
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

    private func solve(_ linear: LinearDescription, _ fit: LayerFit) throws -> CalibratedLayer {
        let layer = try fit.solved(
            recipe: initializer.recipe, sweeps: initializer.settings.sweeps,
            seed: initializer.seed &+ UInt64(reports.count))
        let report = CalibratedInitializer.LayerReport(name: linear.name, relativeError: layer.relativeError)
        reports.append(report)
        try advance(by: linear.weightCount, report)
        return layer
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
