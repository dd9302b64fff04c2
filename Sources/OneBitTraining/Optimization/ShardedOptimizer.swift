import TensorFiles
import Torch

/// What a step of the optimizer did.
struct OptimizerStep: Sendable {
    /// Joint 2-norm of the gradients before clipping, over all ranks. Where it is not finite, nothing was moved.
    var gradientNorm: Double
    /// Σ over the ranks of the numbers that were given along; where one is not finite, nothing was moved either.
    var sums: [Double]
    /// Signs of latent matrices that are not what they were, over all ranks.
    var turnedSigns = 0
    /// Weights of latent matrices.
    var latentCount = 0
}

/// Owns the values, gradients and AdamW moments of what is trained: some rows of each parameter, the other ranks of the
/// process group the rest. Passes get the signs of latent matrices and the values of the other parameters, whole.
///
/// In a step each rank
/// 1. gets its rows of the gradients' sum over micro-batches and ranks (reduce-scatter; of latent matrices, of P = dYᵀX),
/// 2. sums their squares, and learns the joint norm from one exchange of a few numbers, with which the step is committed,
/// 3. clips, makes AdamW's step on its rows in place, and packs the new signs,
/// 4. gets the others' rows (all-gather): one bit of each latent weight, the values of the other parameters.
///
/// So latents, moments and sign′(W) never leave their owner (ZeRO stage 2, with 1 bit in place of 16 on the way back).
final class ShardedOptimizer {
    let parameters: [TrainedParameter]
    /// Whole, for passes, in the order of `parameters`; replaced by each step.
    private(set) var values: [ParameterValue] = []

    let settings: OptimizerSettings
    private let signGradient: SignGradient
    private let group: ProcessGroup
    private let partition: RowPartition
    /// Where passes compute, and where values, gradient sums and moments are.
    private let device, stateDevice: Device
    /// Of a block's gradients on their way to their owners.
    private let exchangeType: DType
    /// Where the two are apart.
    private let downloads: GradientDownloads?
    private let seed: UInt64
    private let rows: [AdamWRows]

    /// The sum of this step's gradients of this rank's rows; of a latent matrix, of P.
    private let gradients: [TensorBuffer]
    private var hasGradient: [Bool]

    /// Latent matrices, whose signs travel, and the others, whose values do.
    private let latents, others: [Int]
    /// Blocks of the model whose gradients are summed over the ranks as soon as they come; the rest waits for the step.
    private let blocks: [GradientBucket]
    private let blockOf: [Int: Int]
    private let rest: GradientBucket
    /// This rank's gradients of the rest, all rows.
    private var restSum: TensorBuffer?
    private var pending: [(bucket: GradientBucket, sum: ProcessGroup.PendingSum)] = []
    /// Digest of the signs after the last step that made one.
    private var signDigest: UInt64 = 0

    /// Steps between two comparisons of the ranks' signs.
    private static let stepsBetweenDigests = 16

    /// - Parameters:
    ///   - parameters: What is trained.
    ///   - settings: AdamW's, and the forms in which latents and moments are kept.
    ///   - signGradient: sign′.
    ///   - group: Who shares the rows.
    ///   - blocks: Matrices of each block of the model, in the order of `parameters`, where the gradients of a block come
    ///     together and are too large to be kept whole until the step; empty where all are.
    ///   - device: Where passes compute: they want the values there, and give gradients of that device.
    ///   - keepsStateOnHost: Whether values, gradient sums and moments are in host memory, and not on `device`.
    ///   - exchangeType: Type in which a block's gradients travel between ranks.
    ///   - seed: Of stochastic rounding.
    ///   - initial: Gives values of some rows of a parameter as float32.
    init(
        _ parameters: [TrainedParameter], settings: OptimizerSettings, signGradient: SignGradient,
        group: ProcessGroup = .alone, blocks: [[Int]] = [], device: Device = .cpu,
        keepsStateOnHost: Bool = false, exchangeType: DType = .float32, seed: UInt64 = 0,
        initial: (_ parameter: TrainedParameter, _ rows: Range<Int>) throws -> Tensor
    ) throws {
        self.parameters = parameters
        self.settings = settings
        self.signGradient = signGradient
        self.group = group
        (self.device, self.exchangeType) = (device, exchangeType)
        let stateDevice = keepsStateOnHost ? .cpu : device
        self.stateDevice = stateDevice
        downloads = keepsStateOnHost ? try GradientDownloads(from: device) : nil
        self.seed = seed
        let partition = RowPartition(rank: group.rank, size: group.size)
        self.partition = partition
        rows = try parameters.map { parameter in
            let range = partition.rows(parameter)
            let shape = Self.shape(parameter, rows: range.count)
            return try AdamWRows(
                initial(parameter, range).converted(to: .float32, device: stateDevice).reshaped(shape),
                value: parameter.group == .latent ? settings.latentStorage : .float32,
                moments: parameter.isMatrix ? settings.momentStorage : .float32,
                keepsSigns: parameter.group == .latent)
        }
        gradients = try parameters.map {
            try TensorBuffer(Self.shape($0, rows: partition.rows($0).count), device: stateDevice)
        }
        hasGradient = parameters.map { _ in false }
        latents = parameters.indices.filter { parameters[$0].group == .latent }
        others = parameters.indices.filter { parameters[$0].group != .latent }
        let blocks = group.size > 1 ? blocks : []
        func bucket(_ members: [Int], isBlock: Bool) -> GradientBucket {
            GradientBucket(members, of: parameters, partition, isBlock: isBlock)
        }
        self.blocks = blocks.map { bucket($0, isBlock: true) }
        blockOf = Dictionary(
            uniqueKeysWithValues: blocks.enumerated().flatMap { index, members in members.map { ($0, index) } })
        let inBlocks = Set(blocks.flatMap(\.self))
        rest = bucket(parameters.indices.filter { !inBlocks.contains($0) }, isBlock: false)
        try publish()
    }

    /// Shape of a rank's rows: a vector's are one row.
    private static func shape(_ parameter: TrainedParameter, rows: Int) -> [Int] {
        parameter.isMatrix ? [rows, parameter.columns] : [1, rows]
    }

    /// Bytes of values and moments on this rank.
    var stateBytes: Int { rows.reduce(0) { $0 + $1.byteCount } }

    // MARK: Gradients

    /// Forgets gradients that were added since the last step.
    func discardGradients() {
        for index in hasGradient.indices { hasGradient[index] = false }
        restSum = nil
        pending = []
        discardDownloads()
    }

    /// Copies that are under way read memory that may be given away only once they are done.
    private func discardDownloads() { try? downloads?.finish { _ in } }

    /// Adds one micro-batch's gradients of some parameters; of latent matrices, P.
    ///
    /// The parameters of a block come together, and every rank adds those of all blocks in the same order:
    /// ``addNothing()`` where it has no micro-batch left.
    func add(_ found: [(parameter: Int, gradient: Tensor)]) throws {
        guard group.size > 1 else { return try bring(found) }
        let byBlock = Dictionary(grouping: found) { blockOf[$0.parameter] }
        for (block, members) in byBlock.sorted(by: { ($0.key ?? -1) > ($1.key ?? -1) }) {
            if let block {
                let parts = try zeros(for: blocks[block])
                for (index, gradient) in members { try blocks[block].add(gradient, of: index, to: parts) }
                try startSum(of: blocks[block], parts)
            } else {
                let sum = try restSum ?? zeros(for: rest)
                for (index, gradient) in members { try rest.add(gradient, of: index, to: sum) }
                restSum = sum
            }
        }
    }

    /// The sum of this step's gradients of a parameter, to add to in place; nil where gradients travel first, to other ranks
    /// or to host memory.
    func sum(of index: Int) throws -> TensorBuffer? {
        guard group.size == 1, downloads == nil else { return nil }
        if !hasGradient[index] {
            try gradients[index].clear()
            hasGradient[index] = true
        }
        return gradients[index]
    }

    /// Adds gradients of this rank's rows to their sums, where these are.
    private func bring(_ found: [(parameter: Int, gradient: Tensor)]) throws {
        guard let downloads else { return try sum(found) }
        try downloads.add(found, receive: sum)
    }

    private func sum(_ found: [(parameter: Int, gradient: Tensor)]) throws {
        for (index, gradient) in found {
            let gradient = try gradient.reshaped(gradients[index].shape)
            if hasGradient[index] {
                try gradients[index].add(gradient)
            } else {
                try gradients[index].write(gradient)
                hasGradient[index] = true
            }
        }
    }

    /// Takes part in the sums of a micro-batch that only other ranks have.
    func addNothing() throws {
        for block in blocks.reversed() {
            try startSum(of: block, zeros(for: block))
        }
    }

    /// Blocks' sums that are under way at a time: one travels while the next block is computed.
    private static let sumsUnderWay = 2

    private func startSum(of bucket: GradientBucket, _ parts: TensorBuffer) throws {
        while pending.count >= Self.sumsUnderWay { try finishSum() }
        let sum = try group.startReduceScatter(parts.tensor.reshaped([group.size, bucket.partLength]))
        pending.append((bucket, sum))
    }

    private func finishSum() throws {
        let (bucket, sum) = pending.removeFirst()
        let part = try sum.value()
        try bring(
            zip(bucket.members, bucket.offsets).filter { gradients[$0.0].tensor.elementCount > 0 }.map {
                index, offset in
                (index, try part.narrowed(0, from: offset, length: gradients[index].tensor.elementCount))
            })
    }

    /// Waits until this rank's rows have the sums of all ranks.
    private func finishSums() throws {
        if group.size > 1 {
            if rest.partLength > 0 {
                try startSum(of: rest, restSum ?? zeros(for: rest))
                restSum = nil
            }
            while !pending.isEmpty { try finishSum() }
        }
        try downloads?.finish(receive: sum)
    }

    /// Parts of all ranks, to add gradients to.
    private func zeros(for bucket: GradientBucket) throws -> TensorBuffer {
        try TensorBuffer(
            [group.size * bucket.partLength], dtype: bucket.isBlock ? exchangeType : .float32, device: device)
    }

    // MARK: Steps

    /// Sums the gradients, clips them to a joint norm, and moves the parameters that have one.
    ///
    /// - Parameters:
    ///   - number: Steps made so far, this one included.
    ///   - factor: The schedule's share of the peak learning rates.
    ///   - gradientScale: What the gradients were multiplied by.
    ///   - summing: Numbers to add up over the ranks in the same exchange: losses. Asked for while a device computes.
    ///   - scales: Gives the value of a parameter of the model, by its place, as it is before the step.
    /// - Throws: ``TrainingError/ranksDisagree(step:)``, `CancellationError` before the step is committed, and what a lost
    ///   rank causes, after which the state may be that of no step.
    func step(
        _ number: Int, factor: Double, gradientScale: Double = 1, summing: @autoclosure () throws -> [Double] = [],
        scales: (Int) throws -> Tensor
    ) throws -> OptimizerStep {
        defer { discardGradients() }
        try finishSums()
        let moved = parameters.indices.filter { hasGradient[$0] && gradients[$0].tensor.elementCount > 0 }
        let latent = try moved.map { try latentScales(of: $0, scales) }
        let squareSums = try zip(moved, latent).map { index, latent in
            try checkCancellation()
            return try rows[index].squareSum(of: gradients[index].tensor, latent: latent)
        }
        let numbers = try summing()
        let squares = try DeviceNumber.values(squareSums).reduce(0, +)
        // A float64 holds 53 bits of the digest exactly.
        let told = numbers + [squares, Double(signDigest & (1 << 53 - 1))]
        let all = try group.commit { try group.allGather(told) }
        guard all.allSatisfy({ $0.last == told.last }) else { throw TrainingError.ranksDisagree(step: number) }
        func sum(_ index: Int) -> Double { all.reduce(0) { $0 + $1[index] } }
        var made = OptimizerStep(
            gradientNorm: sum(numbers.count).squareRoot() / gradientScale, sums: numbers.indices.map(sum))
        guard made.gradientNorm.isFinite, made.sums.allSatisfy(\.isFinite) else { return made }

        // From here on the step is made whole: a cancellation waits. Latent matrices come first, because their gradients
        // are made with g and h as they were.
        let clip = made.gradientNorm > settings.gradientClip ? settings.gradientClip / made.gradientNorm : 1
        var turned: [DeviceNumber] = []
        for (index, latent) in zip(moved, latent).sorted(by: { isLatent($0.0) && !isLatent($1.0) }) {
            let parameter = parameters[index]
            let count = try rows[index].step(
                gradient: gradients[index].tensor, latent: latent,
                settings: AdamWSettings(
                    step: number, learningRate: settings.learningRates[parameter.group] * factor,
                    beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon,
                    weightDecay: parameter.isDecayed ? settings.weightDecay : 0,
                    gradientFactor: clip / gradientScale,
                    seed: seed &+ UInt64(index) &* 0x9E37_79B9_7F4A_7C15),
                firstElement: partition.rows(parameter).lowerBound * parameter.columns)
            if isLatent(index) { turned.append(count) }
        }
        made.turnedSigns = try publish(
            turned: Int(DeviceNumber.values(turned).reduce(0, +)), digests: number % Self.stepsBetweenDigests == 0)
        made.latentCount = latents.reduce(0) { $0 + parameters[$1].elementCount }
        return made
    }

    private func isLatent(_ index: Int) -> Bool { parameters[index].group == .latent }

    private func latentScales(of index: Int, _ scales: (Int) throws -> Tensor) throws -> LatentScales? {
        guard let (input, output) = parameters[index].scales else { return nil }
        let own = partition.rows(parameters[index])
        func here(_ tensor: Tensor) throws -> Tensor { try tensor.converted(to: .float32, device: stateDevice) }
        return LatentScales(
            outputScale: try here(scales(output)).narrowed(0, from: own.lowerBound, length: own.count),
            inputScale: try here(scales(input)), signGradient: signGradient)
    }

    // MARK: Values

    /// Makes the whole values of all ranks' rows.
    ///
    /// - Parameters:
    ///   - turned: Signs that this rank turned.
    ///   - digests: Whether to make a digest of the signs, which the next step compares.
    /// - Returns: Signs that all ranks turned.
    @discardableResult
    private func publish(turned: Int = 0, digests: Bool = false) throws -> Int {
        var values = [ParameterValue?](repeating: nil, count: parameters.count)
        let signs = RowExchange(latents.map { (parameters[$0].rows, (parameters[$0].columns + 7) / 8) }, partition)
        let counted = try withUnsafeBytes(of: Int64(turned).littleEndian) {
            try Tensor.elements($0, shape: [$0.count], dtype: .uint8, device: stateDevice)
        }
        // A copy: the next step packs into the same storage.
        let own = try latents.compactMap {
            try rows[$0].signs.map { try TensorBuffer(copying: $0, dtype: .uint8).tensor }
        }
        let bits = try signs.gather(own, trailer: counted, dtype: .uint8, device: stateDevice, group)
        for (index, tensor) in zip(latents, bits.wholes) {
            let (matrix, bytes) = (parameters[index], (parameters[index].columns + 7) / 8)
            values[index] = .signs(
                try SignMatrix(
                    bits: tensor.reshaped([matrix.rows, bytes]).uploaded(to: device),
                    columns: matrix.columns))
        }
        if digests, let all = bits.all { signDigest = try all.withUnsafeBytes { xxHash64($0) } }

        let exchange = RowExchange(others.map { (parameters[$0].rows, parameters[$0].columns) }, partition)
        let floats = try exchange.gather(
            others.map { rows[$0].values }, trailer: nil, dtype: .float32, device: stateDevice, group)
        for (index, tensor) in zip(others, floats.wholes) {
            values[index] = .tensor(try tensor.reshaped(parameters[index].shape).uploaded(to: device))
        }
        self.values = values.compactMap(\.self)
        return try bits.trailers.reduce(0) { total, trailer in
            try trailer.withUnsafeBytes { total + Int(Int64(littleEndian: $0.loadUnaligned(as: Int64.self))) }
        }
    }

    /// The value of a parameter, float32, all rows: for writing it. All ranks take part.
    func wholeValue(_ index: Int) throws -> Tensor {
        guard isLatent(index) else {
            guard case .tensor(let value) = values[index] else { preconditionFailure("a value is a tensor") }
            return value
        }
        let parameter = parameters[index]
        let exchange = RowExchange([(parameter.rows, parameter.columns)], partition)
        let own = try rows[index].values.converted(to: .float32)
        return try exchange.gather([own], trailer: nil, dtype: .float32, device: stateDevice, group).wholes[0].reshaped(
            parameter.shape)
    }

    // MARK: State

    /// Rows of one tensor of a parameter's state, as they are stored.
    struct StateRows {
        let parameter: Int
        /// `value`, `first_moment`, …
        let name: String
        let rows: Range<Int>
        /// [rows, …]; of a vector [rows]. Shows later steps.
        let tensor: Tensor
    }

    /// This rank's part of what a resumption needs.
    func state() throws -> [StateRows] {
        try parameters.indices.flatMap { index in
            let own = partition.rows(parameters[index])
            return try rows[index].state.map { name, tensor in
                StateRows(
                    parameter: index, name: name, rows: own,
                    tensor: parameters[index].isMatrix ? tensor : try tensor.reshaped([own.count]))
            }
        }
    }

    /// Puts a saved state in place of what is there.
    ///
    /// - Parameter read: Gives the rows of a tensor of ``state()``, in its type.
    func restore(_ read: (_ saved: StateRows) throws -> Tensor) throws {
        for part in try state() where part.tensor.elementCount > 0 {
            try rows[part.parameter].restore(
                part.name, try read(part).reshaped(rows[part.parameter].shape(of: part.name)))
        }
        try publish()
    }
}
