import CLibTorch

/// What the output head adds to a loss, and how it is computed.
public struct HeadLoss: Sendable {
    /// Factor of Σ KL(teacher ‖ student) over rows.
    public var divergenceWeight: Double
    /// Factor of Σ −log p(target) over rows.
    public var crossEntropyWeight: Double
    /// Rows whose logits exist at a time.
    public var rowsAtATime: Int
    /// What caps the logits, as ``Tensor/softCapped(at:)`` does; nil for nothing.
    public var softCap: Double?

    public init(divergenceWeight: Double, crossEntropyWeight: Double, rowsAtATime: Int, softCap: Double? = nil) {
        self.divergenceWeight = divergenceWeight
        self.crossEntropyWeight = crossEntropyWeight
        self.rowsAtATime = rowsAtATime
        self.softCap = softCap
    }

    /// A linear output head and what it reads: logits are `input` weightᵀ, before they are capped.
    public struct Head: Sendable {
        /// [rows, width].
        public let input: Tensor
        /// [vocabulary, width].
        public let weight: Tensor

        public init(input: Tensor, weight: Tensor) {
            self.input = input
            self.weight = weight
        }
    }

    public struct Result: Sendable {
        /// Σ KL and Σ −log p(target) over rows, in nats, without their factors: [2].
        public let sums: Tensor
        /// The loss's gradient by the student's input.
        public let inputGradient: Tensor
    }

    /// Computes loss and gradients. Logits of some rows at a time are all that is ever there; what is summed over the
    /// vocabulary and over rows is summed in float32.
    ///
    /// - Parameters:
    ///   - student: The head that learns.
    ///   - teacher: The head that it learns from; without one there is no divergence.
    ///   - targets: Tokens [rows] to predict, −1 for none; without it there is no cross entropy.
    ///   - weightGradient: What the gradient by the student's weight is added to, float32 [vocabulary, width]; nil where the
    ///     weight is not trained.
    public func callAsFunction(
        student: Head, teacher: Head?, targets: Tensor?, addingTo weightGradient: TensorBuffer?
    ) throws -> Result {
        let settings = lt_head_loss_settings(
            divergence_weight: divergenceWeight, cross_entropy_weight: crossEntropyWeight,
            rows_at_a_time: Int64(rowsAtATime), soft_cap: softCap ?? 0)
        var result = [OpaquePointer?](repeating: nil, count: 2)
        try Tensor.withHandles(
            [student.input, student.weight, teacher?.input, teacher?.weight, targets, weightGradient?.tensor]
        ) {
            try check(
                lt_head_loss($0[0], $0[1], $0[2], $0[3], $0[4], settings, $0[5], &result),
                "the loss of the output head")
        }
        let tensors = Tensor.adopt(result)
        guard let sums = tensors[0], let inputGradient = tensors[1] else {
            throw TorchError.last(in: "the loss of the output head")
        }
        return Result(sums: sums, inputGradient: inputGradient)
    }
}

extension Tensor {
    /// Mean over rows of ‖t/‖t‖₂ − s/‖s‖₂‖², computed in float32, and `weight` times its gradient by these states s.
    public func directionLoss(fromTeacher teacher: Tensor, weight: Double) throws -> (loss: Tensor, gradient: Tensor) {
        let operation = "the hidden-state loss"
        var result = [OpaquePointer?](repeating: nil, count: 2)
        try Tensor.withHandles([teacher, self]) {
            try check(lt_direction_loss($0[0], $0[1], weight, &result), operation)
        }
        let tensors = Tensor.adopt(result)
        guard let loss = tensors[0], let gradient = tensors[1] else { throw TorchError.last(in: operation) }
        return (loss, gradient)
    }
}

/// What an attention layer attends with: queries [batch, heads, length, size] and keys [batch, key/value heads, length,
/// size].
public struct QueriesAndKeys: Sendable {
    public let queries: Tensor
    public let keys: Tensor

    public init(queries: Tensor, keys: Tensor) {
        self.queries = queries
        self.keys = keys
    }

    /// Mean over sequences, heads and tokens of Σ_j (t_j − s_j)² between the attention maps softmax(q kᵀ / √size + mask) of
    /// teacher and these of the student, computed in float32, and `weight` times its gradients by queries and keys.
    ///
    /// - Parameter softCap: What caps the scores of both, before the mask.
    public func mapLoss(
        fromTeacher teacher: QueriesAndKeys, mask: Tensor?, causal: Bool, softCap: Double? = nil, weight: Double
    ) throws -> (loss: Tensor, gradient: QueriesAndKeys) {
        let operation = "the attention-map loss"
        var result = [OpaquePointer?](repeating: nil, count: 3)
        try Tensor.withHandles([teacher.queries, teacher.keys, queries, keys, mask]) {
            try check(
                lt_attention_map_loss($0[0], $0[1], $0[2], $0[3], $0[4], causal, softCap ?? 0, weight, &result),
                operation)
        }
        let tensors = Tensor.adopt(result)
        guard let loss = tensors[0], let byQueries = tensors[1], let byKeys = tensors[2] else {
            throw TorchError.last(in: operation)
        }
        return (loss, QueriesAndKeys(queries: byQueries, keys: byKeys))
    }
}
