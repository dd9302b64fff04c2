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
/// What is there at a time is one block's activations besides one input per block, and the logits of one chunk.
struct BlockSchedule: Sendable {
    let objective: TrainingObjective
    /// Measures what the parts of a pass take.
    var phases = PhaseTimer()
    /// Threads that make passes side by side.
    var workers = 1

    /// What a micro-batch's gradients are handed to: by parameter of the model.
    typealias Receiver = ([(parameter: Int, gradient: Tensor)]) throws -> Void

    /// Logits that exist at a time, of student and teacher each: 32 MiB of float32.
    static let logitsAtATime = 1 << 23

    /// - Parameters:
    ///   - student: The model.
    ///   - leaves: Of the model's backward pass, by parameter.
    ///   - tokens: [B, T].
    ///   - share: The micro-batch's share of the step's batch.
    ///   - scale: Factor of all gradients besides.
    ///   - receive: Takes gradients; a parameter may come more than once, and what comes is to be added.
    /// - Returns: The parts of the loss times `share`, in the order of the objective's names.
    func callAsFunction(
        _ student: Transformer, leaves: [Tensor?], tokens: Tensor, share: Double, scale: Double = 1,
        receive: Receiver
    ) throws -> Tensor {
        let forward = try withoutGradient { try self.forward(student, tokens: tokens, share: share * scale) }
        let (parts, headGradient) = try phases.measure(.head, workers: workers) {
            try head(
                student, leaves: leaves, forward: forward, tokens: tokens, share: share, scale: scale, receive: receive)
        }
        try phases.measure(.backward, workers: workers) {
            try backward(
                student, leaves: leaves, forward: forward, tokens: tokens, from: headGradient, receive: receive)
        }
        return parts
    }

    /// What the forward pass keeps.
    private struct Forward {
        /// x_l that enters each block; behind them what leaves the last.
        var states: [Tensor] = []
        /// The hidden-state loss's gradient at x_l of each block; empty where the loss has no such part.
        var stateGradients: [Tensor] = []
        /// Σ_l of the hidden-state loss.
        var hiddenLoss: Tensor?
        /// What leaves the teacher's last block.
        var teacherState: Tensor?
    }

    private func forward(_ student: Transformer, tokens: Tensor, share: Double) throws -> Forward {
        let length = tokens.shape[1]
        let positions = try student.positions(length: length)
        var kept = Forward()
        var x = try student.embedded(tokens, at: positions)
        guard case .distillation(let teacher, let weights) = objective else {
            for block in student.blocks {
                try checkCancellation()
                kept.states.append(x)
                x = try phases.measure(.studentForward, workers: workers) { try block(x, at: positions) }
            }
            kept.states.append(x)
            return kept
        }
        let teacherPositions = try teacher.positions(length: length)
        var t = try teacher.embedded(tokens, at: teacherPositions)
        var losses: [Tensor] = []
        let teacherBlocks = try BlockStream(teacher)
        for block in student.blocks {
            try checkCancellation()
            kept.states.append(x)
            if weights.hiddenStates != 0 {
                let (loss, gradient) = try x.directionLoss(fromTeacher: t, weight: weights.hiddenStates * share)
                losses.append(loss)
                kept.stateGradients.append(gradient)
            }
            x = try phases.measure(.studentForward, workers: workers) { try block(x, at: positions) }
            t = try phases.measure(.teacher, workers: workers) { try teacherBlocks.next(t, at: teacherPositions) }
        }
        kept.states.append(x)
        kept.teacherState = t
        kept.hiddenLoss = losses.isEmpty ? nil : try Tensor.stacked(losses).sum()
        return kept
    }

    /// The loss of the output head, and the loss's gradient at what leaves the last block.
    private func head(
        _ student: Transformer, leaves: [Tensor?], forward: Forward, tokens: Tensor, share: Double, scale: Double,
        receive: Receiver
    ) throws -> (parts: Tensor, gradient: Tensor) {
        let shape = tokens.shape
        let (batch, length) = (Double(shape[0]), Double(shape[1]))
        let predictions = batch * (length - 1)
        let divergenceWeight: Double
        let crossEntropyWeight: Double
        switch objective {
        case .nextToken: (divergenceWeight, crossEntropyWeight) = (0, 1 / predictions)
        case .distillation(_, let weights):
            (divergenceWeight, crossEntropyWeight) = (weights.klDivergence / batch, weights.languageModel / predictions)
        }
        let vocabulary = student.configuration.vocabularySize
        let loss = HeadLoss(
            divergenceWeight: divergenceWeight * share * scale, crossEntropyWeight: crossEntropyWeight * share * scale,
            rowsAtATime: max(1, Self.logitsAtATime / vocabulary))

        func rows(_ x: Tensor) throws -> Tensor { try x.reshaped([shape[0] * shape[1], x.shape[2]]) }
        let state = try forward.states[student.blocks.count].requiringGradient()
        let input = try rows(student.headInput(state))
        var teacherHead: HeadLoss.Head?
        if case .distillation(let teacher, _) = objective, let teacherState = forward.teacherState {
            teacherHead = try withoutGradient {
                HeadLoss.Head(input: try rows(teacher.headInput(teacherState)), weight: teacher.head)
            }
        }
        let result = try loss(
            student: HeadLoss.Head(input: input, weight: student.head), teacher: teacherHead,
            targets: crossEntropyWeight != 0 ? try nextTokens(tokens) : nil,
            wantsWeightGradient: leaves[student.headParameter] != nil)
        if let gradient = result.weightGradient { try receive([(student.headParameter, gradient)]) }
        let gradient = try back(
            from: input, upstream: result.inputGradient, to: state, leaves: leaves,
            parameters: student.outerParameters.filter { $0 != student.headParameter }, receive: receive)

        let divergence = try result.sums.narrowed(0, from: 0, length: 1) * (share / (batch * length))
        let crossEntropy = try result.sums.narrowed(0, from: 1, length: 1) * (share / predictions)
        switch objective {
        case .nextToken: return (crossEntropy, gradient)
        case .distillation:
            var parts = [divergence]
            if let hidden = forward.hiddenLoss { parts.append(try hidden.reshaped([1]) * share) }
            if crossEntropyWeight != 0 { parts.append(crossEntropy) }
            return (try .concatenated(parts, along: 0), gradient)
        }
    }

    private func backward(
        _ student: Transformer, leaves: [Tensor?], forward: Forward, tokens: Tensor, from headGradient: Tensor,
        receive: Receiver
    ) throws {
        let positions = try student.positions(length: tokens.shape[1])
        var gradient = headGradient
        for (layer, block) in student.blocks.enumerated().reversed() {
            try checkCancellation()
            let x = try forward.states[layer].requiringGradient()
            gradient = try back(
                from: block(x, at: positions), upstream: gradient, to: x, leaves: leaves,
                parameters: Array(block.parameters), receive: receive)
            if !forward.stateGradients.isEmpty { gradient = try gradient + forward.stateGradients[layer] }
        }
        let trained = student.outerParameters.filter { leaves[$0] != nil }
        guard !trained.isEmpty else { return }
        let found = try student.embedded(tokens, at: student.positions(length: tokens.shape[1]))
            .gradients(by: trained.compactMap { leaves[$0] }, upstream: gradient)
        try receive(zip(trained, found).compactMap { parameter, gradient in gradient.map { (parameter, $0) } })
    }

    /// Goes backward from `output` to `input`, and hands on the gradients of the parameters between.
    private func back(
        from output: Tensor, upstream: Tensor, to input: Tensor, leaves: [Tensor?], parameters: [Int],
        receive: Receiver
    ) throws -> Tensor {
        let trained = parameters.filter { leaves[$0] != nil }
        let found = try output.gradients(by: [input] + trained.compactMap { leaves[$0] }, upstream: upstream)
        try receive(
            zip(trained, found.dropFirst()).compactMap { parameter, gradient in gradient.map { (parameter, $0) } })
        guard let gradient = found[0] else { preconditionFailure("a block's output depends on its input") }
        return gradient
    }

    /// The token behind each token of [B, T] as [B · T]; −1 behind the last of a sequence.
    private func nextTokens(_ tokens: Tensor) throws -> Tensor {
        let shape = tokens.shape
        let none = try Tensor.integers(
            [Int](repeating: -1, count: shape[0]), shape: [shape[0], 1], device: tokens.device)
        return try .concatenated([tokens.narrowed(1, from: 1, length: shape[1] - 1), none], along: 1)
            .reshaped([shape[0] * shape[1]])
    }
}
