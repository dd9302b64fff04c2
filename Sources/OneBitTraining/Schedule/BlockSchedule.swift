import ModelDescription
import Torch

/// Forward and backward pass of one micro-batch, a block at a time instead of one graph over the model:
///
/// 1. Forward without recording, teacher and student in lockstep. Kept are each student block's input x_l and, computed at
///    once where both states are at hand, the gradient of the hidden-state loss at x_l.
/// 2. The output head in chunks of tokens: its loss, and the loss's gradient at the last block's output.
/// 3. The blocks from the last to the first: run again on x_l, now recorded, and gone back through from the gradient at
///    their output. The gradients of a block's parameters are handed on as soon as they are there; the gradient at x_l plus
///    that of the hidden-state loss is where the next block starts from.
/// 4. The embedding.
///
/// What is there at a time is one block's activations besides one input per block, and the logits of one chunk. Where the
/// activations of all blocks are small they are recorded in step 1 and kept, and nothing is run again.
struct BlockSchedule: Sendable {
    let objective: TrainingObjective
    /// Measures what the parts of a pass take.
    var phases = PhaseTimer()
    /// Threads that make passes side by side.
    var workers = 1
    /// Activations of all blocks that are kept at the most, in bytes; the blocks are run again where they are more.
    var keptActivations = Execution.fewActivations

    /// What a micro-batch's gradients are handed to: by parameter of the model.
    typealias Receiver = ([(parameter: Int, gradient: Tensor)]) throws -> Void
    /// Lends the sum of a parameter's gradients, to add to it in place; nil where gradients are handed on.
    typealias Lender = (_ parameter: Int) throws -> TensorBuffer?

    /// Logits that exist at a time, of student and teacher each: 32 MiB of float32 on a CPU, four times as many on another
    /// device, which products of few rows leave idle.
    static func logitsAtATime(isAccelerated: Bool) -> Int { isAccelerated ? 1 << 25 : 1 << 23 }

    /// - Parameters:
    ///   - student: The model.
    ///   - leaves: Of the model's backward pass, by parameter.
    ///   - tokens: [B, T].
    ///   - share: The micro-batch's share of the step's batch.
    ///   - scale: Factor of all gradients besides.
    ///   - lend: Asked for the sum of the head's gradients, the largest.
    ///   - receive: Takes gradients; a parameter may come more than once, and what comes is to be added.
    /// - Returns: The parts of the loss times `share`, in the order of the objective's names.
    func callAsFunction(
        _ student: Transformer, leaves: [Tensor?], tokens: Tensor, share: Double, scale: Double = 1,
        lend: Lender = { _ in nil }, receive: Receiver
    ) throws -> Tensor {
        let pass = Pass(student: student, leaves: leaves, tokens: tokens, share: share, scale: scale)
        var forward = try withoutGradient { try self.forward(pass) }
        let (headParts, gradient) = try measure(.head) { try head(pass, forward, lend: lend, receive: receive) }
        let attentionLoss = try measure(.backward) {
            try backward(pass, &forward, from: gradient, receive: receive)
        }
        func part(_ sum: Tensor?) throws -> [Tensor] { try sum.map { [try $0.reshaped([1]) * share] } ?? [] }
        return try .concatenated(
            [headParts.first] + part(forward.hiddenLoss) + part(attentionLoss) + headParts.rest, along: 0)
    }

    /// What is computed on.
    private struct Pass {
        let student: Transformer
        let leaves: [Tensor?]
        let tokens: Tensor
        let share: Double
        let scale: Double
    }

    /// What the forward pass keeps.
    private struct Forward {
        /// x_l that enters each block.
        var inputs: [Tensor] = []
        /// Of each block, where nothing is run again.
        var recorded: [RecordedBlock] = []
        /// What leaves the last block.
        var output: Tensor
        /// The hidden-state loss's gradient at x_l of each block; empty where the loss has no such part.
        var stateGradients: [Tensor] = []
        /// Σ_l of the hidden-state loss.
        var hiddenLoss: Tensor?
        /// What leaves the teacher's last block.
        var teacherOutput: Tensor?
        /// The teacher's in each block; empty where the loss has no such part.
        var teacherAttention: [QueriesAndKeys] = []
    }

    /// A block that can be gone back through.
    private struct RecordedBlock {
        let input: Tensor
        let output: Tensor
        let attention: QueriesAndKeys?
    }

    private func measure<Result>(_ phase: TrainingPhase, _ body: () throws -> Result) rethrows -> Result {
        try phases.measure(phase, workers: workers, body)
    }

    // MARK: Forward

    private func forward(_ pass: Pass) throws -> Forward {
        let length = pass.tokens.shape[1]
        let positions = try pass.student.positions(length: length)
        let keepsActivations =
            pass.student.configuration.activationBytes(tokens: pass.tokens.elementCount) <= keptActivations
        var kept = Forward(output: try pass.student.embedded(pass.tokens, at: positions))
        func advance(_ block: TransformerBlock) throws {
            try checkCancellation()
            kept.inputs.append(kept.output)
            try measure(.studentForward) {
                if keepsActivations {
                    let recorded = try record(block, kept.output, at: positions)
                    kept.recorded.append(recorded)
                    kept.output = try recorded.output.detached()
                } else {
                    kept.output = try block(kept.output, at: positions)
                }
            }
        }
        guard case .distillation(let teacher, let weights) = objective else {
            for block in pass.student.blocks { try advance(block) }
            return kept
        }
        let teacherPositions = try teacher.positions(length: length)
        let teacherBlocks = try BlockStream(teacher)
        var t = try teacher.embedded(pass.tokens, at: teacherPositions)
        var losses: [Tensor] = []
        for block in pass.student.blocks {
            if weights.hiddenStates != 0 {
                let (loss, gradient) = try kept.output.directionLoss(
                    fromTeacher: t, weight: weights.hiddenStates * pass.share * pass.scale)
                losses.append(loss)
                kept.stateGradients.append(gradient)
            }
            try advance(block)
            t = try measure(.teacher) {
                try teacherBlocks.next(t, at: teacherPositions) { queries, keys in
                    guard weights.attentionMaps != 0 else { return }
                    kept.teacherAttention.append(QueriesAndKeys(queries: queries, keys: keys))
                }
            }
        }
        kept.teacherOutput = t
        kept.hiddenLoss = losses.isEmpty ? nil : try Tensor.stacked(losses).sum()
        return kept
    }

    private func record(_ block: TransformerBlock, _ x: Tensor, at positions: TokenPositions) throws -> RecordedBlock {
        try withGradient {
            let input = try x.requiringGradient()
            var attention: QueriesAndKeys?
            let output = try block(input, at: positions) { attention = QueriesAndKeys(queries: $0, keys: $1) }
            return RecordedBlock(input: input, output: output, attention: attention)
        }
    }

    // MARK: Head

    /// The loss of the output head by parts, and the loss's gradient at what leaves the last block.
    private func head(
        _ pass: Pass, _ forward: Forward, lend: Lender, receive: Receiver
    ) throws -> (parts: (first: Tensor, rest: [Tensor]), gradient: Tensor) {
        let (student, leaves) = (pass.student, pass.leaves)
        let shape = pass.tokens.shape
        let (batch, length) = (Double(shape[0]), Double(shape[1]))
        let predictions = batch * (length - 1)
        let divergenceWeight: Double
        let crossEntropyWeight: Double
        switch objective {
        case .nextToken: (divergenceWeight, crossEntropyWeight) = (0, 1 / predictions)
        case .distillation(_, let weights):
            (divergenceWeight, crossEntropyWeight) = (weights.klDivergence / batch, weights.languageModel / predictions)
        }
        let scale = pass.share * pass.scale
        let logitsAtATime = Self.logitsAtATime(isAccelerated: student.device != .cpu)
        let loss = HeadLoss(
            divergenceWeight: divergenceWeight * scale, crossEntropyWeight: crossEntropyWeight * scale,
            rowsAtATime: max(1, logitsAtATime / student.configuration.vocabularySize),
            softCap: student.configuration.structure.logitSoftCap.map(Double.init))

        func rows(_ x: Tensor) throws -> Tensor { try x.reshaped([shape[0] * shape[1], x.shape[2]]) }
        let state = try forward.output.requiringGradient()
        let input = try rows(student.headInput(state))
        var teacherHead: HeadLoss.Head?
        if case .distillation(let teacher, _) = objective, let teacherOutput = forward.teacherOutput {
            teacherHead = try withoutGradient {
                HeadLoss.Head(input: try rows(teacher.headInput(teacherOutput)), weight: teacher.head)
            }
        }
        let isTrained = leaves[student.headParameter] != nil
        let lent = isTrained ? try lend(student.headParameter) : nil
        let own = isTrained && lent == nil ? try TensorBuffer(student.head.shape, device: student.device) : nil
        let result = try loss(
            student: HeadLoss.Head(input: input, weight: student.head), teacher: teacherHead,
            targets: crossEntropyWeight != 0 ? try nextTokens(pass.tokens) : nil, addingTo: lent ?? own)
        if let own { try receive([(student.headParameter, own.tensor)]) }
        let gradient = try back(
            from: [(input, result.inputGradient)], to: state, leaves: leaves,
            parameters: student.outerParameters.filter { $0 != student.headParameter }, receive: receive)

        let divergence = try result.sums.narrowed(0, from: 0, length: 1) * (pass.share / (batch * length))
        let crossEntropy = try result.sums.narrowed(0, from: 1, length: 1) * (pass.share / predictions)
        switch objective {
        case .nextToken: return ((crossEntropy, []), gradient)
        case .distillation: return ((divergence, crossEntropyWeight != 0 ? [crossEntropy] : []), gradient)
        }
    }

    /// The token behind each token of [B, T] as [B · T]; −1 behind the last of a sequence.
    private func nextTokens(_ tokens: Tensor) throws -> Tensor {
        let shape = tokens.shape
        let none = try Tensor.integers(
            [Int](repeating: -1, count: shape[0]), shape: [shape[0], 1], device: tokens.device)
        return try .concatenated([tokens.narrowed(1, from: 1, length: shape[1] - 1), none], along: 1)
            .reshaped([shape[0] * shape[1]])
    }

    // MARK: Backward

    /// - Returns: Σ over blocks of the attention-map loss; nil where the loss has no such part.
    private func backward(
        _ pass: Pass, _ forward: inout Forward, from headGradient: Tensor, receive: Receiver
    ) throws -> Tensor? {
        let (student, leaves) = (pass.student, pass.leaves)
        let positions = try student.positions(length: pass.tokens.shape[1])
        var gradient = headGradient
        var attentionLosses: [Tensor] = []
        for (layer, block) in student.blocks.enumerated().reversed() {
            try checkCancellation()
            let input = forward.inputs.removeLast()
            let recorded = try forward.recorded.popLast() ?? record(block, input, at: positions)
            var outputs: [(tensor: Tensor, upstream: Tensor?)] = [(recorded.output, gradient)]
            if let teacher = forward.teacherAttention.popLast(), let attention = recorded.attention {
                let (loss, gradient) = try attentionMapLoss(
                    attention, in: block, from: teacher, at: positions, scale: pass.share * pass.scale)
                attentionLosses.append(loss)
                outputs += [(attention.queries, gradient.queries), (attention.keys, gradient.keys)]
            }
            let shared = student.sharedInputScales(ofBlock: layer)
            gradient = try back(
                from: outputs, to: recorded.input, leaves: leaves, parameters: Array(block.parameters)
            ) { try receive(shared?.tied($0) ?? $0) }
            if !forward.stateGradients.isEmpty { gradient = try gradient + forward.stateGradients[layer] }
        }
        let trained = student.outerParameters.filter { leaves[$0] != nil }
        if !trained.isEmpty {
            let found = try student.embedded(pass.tokens, at: student.positions(length: pass.tokens.shape[1]))
                .gradients(by: trained.compactMap { leaves[$0] }, upstream: gradient)
            try receive(zip(trained, found).compactMap { parameter, gradient in gradient.map { (parameter, $0) } })
        }
        return attentionLosses.isEmpty ? nil : try Tensor.stacked(attentionLosses).sum()
    }

    private func attentionMapLoss(
        _ attention: QueriesAndKeys, in block: TransformerBlock, from teacher: QueriesAndKeys,
        at positions: TokenPositions, scale: Double
    ) throws -> (loss: Tensor, gradient: QueriesAndKeys) {
        guard case .distillation(_, let weights) = objective, case .sequences(let masks) = positions.attention else {
            preconditionFailure("attention maps are compared with a teacher's, over whole sequences")
        }
        let weight = weights.attentionMaps * scale
        let cap = block.attention.softCap
        switch block.attention.slidingWindow == nil ? masks.full : masks.windowed {
        case .causal:
            return try attention.mapLoss(fromTeacher: teacher, mask: nil, causal: true, softCap: cap, weight: weight)
        case .matrix(let mask):
            return try attention.mapLoss(fromTeacher: teacher, mask: mask, causal: false, softCap: cap, weight: weight)
        }
    }

    /// Goes backward from outputs to `input`, and hands on the gradients of the parameters between.
    private func back(
        from outputs: [(tensor: Tensor, upstream: Tensor?)], to input: Tensor, leaves: [Tensor?], parameters: [Int],
        receive: Receiver
    ) throws -> Tensor {
        let trained = parameters.filter { leaves[$0] != nil }
        let found = try Tensor.gradients(of: outputs, by: [input] + trained.compactMap { leaves[$0] })
        try receive(
            zip(trained, found.dropFirst()).compactMap { parameter, gradient in gradient.map { (parameter, $0) } })
        guard let gradient = found[0] else { preconditionFailure("a block's output depends on its input") }
        return gradient
    }
}

extension ModelConfiguration {
    /// Bytes of what the backward pass of all blocks reads, at the most: two numbers for each that enters or leaves a linear
    /// layer.
    fileprivate func activationBytes(tokens: Int) -> Int {
        2 * MemoryLayout<Float>.size * tokens * linears.reduce(0) { $0 + $1.inputs + $1.outputs }
    }
}
