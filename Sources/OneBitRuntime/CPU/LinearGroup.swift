import ModelDescription

/// What the linear layers of a model's blocks are made of.
enum LinearWeights {
    /// ±1: those of all layers in the configuration's order.
    case signs([PackedSigns], SignLayout)
    /// Floats, which are read from the checkpoint, with inputs that are rounded or not.
    case dense(DenseKernels, ThreadPool, rounding: InputPrecision?)

    /// Layers of one block that read the same input.
    ///
    /// - Parameter linears: a part of the block's linears, with the indices that it has there.
    func group(_ linears: ArraySlice<LinearDescription>, of checkpoint: Checkpoint) throws -> LinearGroup {
        switch self {
        case .signs(let signs, let layout):
            let block = checkpoint.configuration.blockLinears(layer: 0).count
            return .signs(
                SignLinearGroup(
                    try linears.indices.map {
                        try SignLinear(linears[$0], signs: signs[linears[$0].layer * block + $0], of: checkpoint)
                    }, layout: layout))
        case .dense(let kernels, let pool, let precision):
            return .dense(
                DenseLinearGroup(
                    try linears.map { try DenseLinear($0, of: checkpoint, kernels: kernels, pool: pool) },
                    rounding: try precision.map { try InputRounding($0, inputs: linears.first!.inputs) }))
        }
    }
}

/// Linear layers that read the same input.
enum LinearGroup: Sendable {
    case signs(SignLinearGroup)
    case dense(DenseLinearGroup)

    /// x: [pass.rows, inputs]; output(i): where layer i writes [pass.rows, its outputs].
    func callAsFunction(
        _ x: UnsafePointer<Float>, _ pass: ForwardPass, output: (Int) -> UnsafeMutablePointer<Float>
    ) {
        switch self {
        case .signs(let group): group(x, pass, output: output)
        case .dense(let group): group(x, rows: pass.rows, pass, output: output)
        }
    }
}
