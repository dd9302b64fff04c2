import ModelFiles

extension LlamaModel {
    /// Reads a dense model or a float student.
    ///
    /// - Parameters:
    ///   - checkpoint: Not a packed one.
    ///   - signGradient: How a student's gradient passes through sign; immaterial for a teacher and for evaluation.
    /// - Throws: ``TrainingError/packedCheckpoint(directory:)`` for a packed checkpoint, and what reading throws.
    public convenience init(checkpoint: Checkpoint, signGradient: SignGradient = .hard) throws {
        let linears: LinearForm
        switch (checkpoint.kind, checkpoint.configuration.quantization) {
        case (.dense, _):
            linears = .dense
        case (.floatStudent, let quantization):
            let layerNorm = quantization?.postLayerNorm ?? true
            linears = .oneBit(
                layerNormEpsilon: layerNorm ? quantization?.layerNormEpsilon ?? 1e-5 : nil,
                signGradient: signGradient
            )
        case (.packed, _):
            throw TrainingError.packedCheckpoint(directory: checkpoint.directory)
        }
        try self.init(configuration: checkpoint.configuration, linears: linears) { name in
            let shape = try checkpoint.description(of: name).shape
            return try Tensor(try checkpoint.floats(of: name), shape: shape)
        }
    }

    /// Streams the parameters into a checkpoint directory, in `elementType`.
    func write(to directory: StagedDirectory, elementType: ElementType, shardByteLimit: Int) throws {
        let writer = try CheckpointWriter(
            directory: directory.url,
            tensors: parameters.map {
                TensorDescription(name: $0.name, elementType: elementType, shape: $0.tensor.shape)
            },
            metadata: ["format": "pt"],
            shardByteLimit: shardByteLimit
        )
        for parameter in parameters { try writer.write(parameter.name, floats: try parameter.tensor.floats()) }
        try writer.finish()
    }
}
