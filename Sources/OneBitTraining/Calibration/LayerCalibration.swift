import Foundation
import ModelDescription
import SignDecomposition
import Torch

/// What linear layers that read the same vector have to do on the calibration text, as sums over its tokens.
///
/// With X [tokens, in] what the student's layer reads and Y [tokens, out] what the teacher's layer gives, everything that
/// fitting needs is XᵀX, YᵀX and ‖Y‖²: no token is kept.
struct LayerStatistics {
    /// Lower triangle of XᵀX [in, in].
    private let gram: TensorBuffer
    /// YᵀX [out, in] of each layer.
    private let cross: [TensorBuffer]
    /// ‖Y‖² of each layer.
    private var energies: [Double]

    init(of layers: [LinearDescription], device: Device) throws {
        gram = try TensorBuffer([layers[0].inputs, layers[0].inputs], device: device)
        cross = try layers.map { try TensorBuffer([$0.outputs, $0.inputs], device: device) }
        energies = layers.map { _ in 0 }
    }

    /// Adds some tokens: X, and Y of each layer.
    mutating func add(inputs: Tensor, outputs: [Tensor]) throws {
        try checkCancellation()
        try gram.addGram(of: inputs)
        for (index, output) in outputs.enumerated() {
            try checkCancellation()
            try cross[index].addProduct(output, inputs)
            energies[index] += try output.squareSum()
        }
    }

    /// The problem of each layer, ready to be solved.
    ///
    /// - Parameters:
    ///   - weights: W⁰, the teacher's [out, in].
    ///   - damping: λ as a part of XᵀX's mean diagonal; ten times as much wherever that is not enough.
    ///   - group: The layers, and the teacher's directory, for errors.
    /// - Throws: ``CalibrationError/notFinite(directory:layer:)``, ``CalibrationError/singular(directory:layer:)``
    func fits(
        weights: [Tensor], damping: Double, of group: (layers: [LinearDescription], directory: URL)
    ) throws -> [LayerFit] {
        if let index = energies.firstIndex(where: { !$0.isFinite }) {
            throw CalibrationError.notFinite(directory: group.directory, layer: group.layers[index].name)
        }
        for power in 0..<6 {
            let (gram, lambda) = try gram.tensor.damped(by: damping * pow(10, Double(power)))
            guard lambda.isFinite else {
                throw CalibrationError.notFinite(directory: group.directory, layer: group.layers[0].name)
            }
            guard let factor = try gram.upperFactor() else { continue }
            return try zip(weights, zip(cross, energies)).map { weight, sums in
                let cross = try sums.0.tensor + weight * lambda
                return LayerFit(
                    gram: gram, factor: factor, cross: cross, teacherWeight: weight,
                    energy: sums.1 + lambda * (try weight.squareSum()))
            }
        }
        throw CalibrationError.singular(directory: group.directory, layer: group.layers[0].name)
    }
}

/// Fits one OneBit layer Ŵ = h gᵀ ⊙ S to ‖X Ŵᵀ − Y‖² + λ ‖Ŵ − W⁰‖².
struct LayerFit {
    /// A = XᵀX + λ I.
    let gram: Tensor
    /// V of A = V Vᵀ.
    let factor: Tensor
    /// C = YᵀX + λ W⁰.
    let cross: Tensor
    /// W⁰.
    let teacherWeight: Tensor
    /// ‖Y‖² + λ ‖W⁰‖²: the error of a layer that gives nothing.
    let energy: Double

    /// W = C A⁻¹: the dense optimum on these inputs.
    func denseOptimum() throws -> Tensor { try cross.solvingRows(factor: factor) }

    /// The one-bit layer, in the order of the method: the dense optimum, its magnitudes as h gᵀ, signs column by column with h
    /// fitted to them, and the signs again.
    ///
    /// - Parameters:
    ///   - weight: The dense optimum.
    ///   - factors: Its magnitudes as h gᵀ. g stays as it is.
    func solved(
        from weight: Tensor, factors: SignValueDecomposition, recipe: StartRecipe, sweeps: Int
    ) throws -> CalibratedLayer {
        let shape = teacherWeight.shape
        var signs = try ColumnSigns(
            weight: weight, gram: gram, factor: factor, cross: cross,
            inputScale: .floats(factors.inputScale, shape: [shape[1]], device: weight.device),
            outputScale: .floats(factors.outputScale, shape: [shape[0]], device: weight.device))
        var explained = try signs.fitOutputScale()
        for _ in 0..<sweeps {
            try signs.descend()
            explained = try signs.fitOutputScale()
        }
        return CalibratedLayer(
            targets: try signs.targets.floats(), teacherWeight: try teacherWeight.floats(),
            inputScale: factors.inputScale, outputScale: try signs.outputScale.floats(), recipe: recipe,
            relativeError: energy > 0 ? max(0, (energy - explained) / energy).squareRoot() : 0)
    }
}

/// A layer as it stands in the start checkpoint.
struct CalibratedLayer {
    /// W [out, in], row-major: its signs are the layer's.
    var latent: [Float]
    /// g [in].
    var inputScale: [Float]
    /// h [out].
    var outputScale: [Float]
    /// Norm of what is left of the teacher's outputs, by theirs.
    let relativeError: Double

    /// The hard gradient of sign ends where |w| = 1: latent weights stay within.
    private static let largestLatent: Float = 0.99
    /// So that every latent weight has a sign, and every row an output.
    private static let smallest: Float = 1e-6

    /// - Parameters:
    ///   - targets: What signs were taken of; brought to the mean magnitude of the teacher's weights, which learning rates
    ///     are made for, they are the latent weights.
    init(
        targets: [Float], teacherWeight: [Float], inputScale: [Float], outputScale: [Float], recipe: StartRecipe,
        relativeError: Double
    ) {
        func meanMagnitude(_ values: [Float]) -> Double {
            values.reduce(0.0) { $0 + Double($1.magnitude) } / Double(max(1, values.count))
        }
        switch recipe.latent {
        case .sign:
            latent = targets.map { $0 >= 0 ? StartRecipe.signMagnitude : -StartRecipe.signMagnitude }
        case .weight:
            let size = meanMagnitude(targets)
            let factor = size > 0 ? Float(meanMagnitude(teacherWeight) / size) : 0
            latent = targets.map { target in
                let magnitude = min(max(target.magnitude * factor, Self.smallest), Self.largestLatent)
                return target >= 0 ? magnitude : -magnitude
            }
        }
        var (g, h) = (inputScale, outputScale.map { max($0, Self.smallest) })
        // A shared g cannot follow every layer's h.
        if recipe.scaleSplit == .balanced, recipe.inputScales == .own {
            // ‖g‖ = ‖h‖
            func norm(_ values: [Float]) -> Double {
                values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            }
            let (normG, normH) = (norm(g), norm(h))
            if normG > 0, normH > 0 {
                let factor = Float((normH / normG).squareRoot())
                g = g.map { $0 * factor }
                h = h.map { $0 / factor }
            }
        }
        self.inputScale = g
        self.outputScale = h
        self.relativeError = relativeError
    }

    /// The layer as passes compute with it.
    func linear(bias: Tensor?, device: Device) throws -> LinearLayer {
        let (rows, columns) = (outputScale.count, inputScale.count)
        return .oneBit(
            signs: try Torch.SignMatrix(signsOf: .floats(latent, shape: [rows, columns], device: device)),
            product: nil, inputScale: try .floats(inputScale, shape: [columns], device: device),
            outputScale: try .floats(outputScale, shape: [rows], device: device), bias: bias,
            settings: OneBitSettings(layerNormEpsilon: nil))
    }
}
