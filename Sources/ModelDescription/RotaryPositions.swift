import Foundation
import JSON

/// Rotary position embedding (Su et al. 2021), in Hugging Face's order: channel i of a head is paired with i + d/2, and
/// the pair rotated by the angle position · θ_i.
public struct RotaryPositions: Sendable, Hashable {
    /// How a model was stretched beyond the context that it was first trained on.
    public enum Scaling: Sendable, Hashable {
        case none
        /// θ_i / factor (Chen et al. 2023): every position counts as a fraction of itself.
        case linear(factor: Float)
        /// A sequence of n tokens longer than the `original` L takes another base (bloc97's "dynamic NTK"):
        ///
        ///     base · (factor · n / L − (factor − 1))^(d / (d − 2))
        case dynamic(factor: Float, original: Int)
        /// Slow frequencies divided by the factor, fast ones kept, a smooth transition between (Llama 3.1).
        case llama3(factor: Float, lowFrequencyFactor: Float, highFrequencyFactor: Float, original: Int)
    }

    /// Base of the frequencies, `rope_theta`.
    public let base: Float
    public let scaling: Scaling

    public init(base: Float, scaling: Scaling = .none) {
        self.base = base
        self.scaling = scaling
    }

    /// θ_i, i < d/2, of a sequence of so many tokens, in single precision step by step as transformers computes them,
    /// whose rounding shows at large positions.
    ///
    /// - Parameters:
    ///   - headSize: d, channels of a head.
    ///   - sequenceLength: tokens of the sequence, those yet to be read of the pass included; matters to
    ///     ``Scaling/dynamic(factor:original:)`` alone.
    public func frequencies(headSize: Int, sequenceLength: Int) -> [Float] {
        [Float](unsafeUninitializedCapacity: headSize / 2) { buffer, count in
            fillFrequencies(
                UnsafeMutableBufferPointer(rebasing: buffer[..<(headSize / 2)]), sequenceLength: sequenceLength)
            count = headSize / 2
        }
    }

    /// As ``frequencies(headSize:sequenceLength:)``, into memory that is there: d is twice its count.
    package func fillFrequencies(_ frequencies: UnsafeMutableBufferPointer<Float>, sequenceLength: Int) {
        let headSize = 2 * frequencies.count
        var base = base
        if case .dynamic(let factor, let original) = scaling, sequenceLength > original, headSize > 2 {
            let stretch = factor * Float(sequenceLength) / Float(original) - (factor - 1)
            base *= pow(stretch, Float(headSize) / Float(headSize - 2))
        }
        for i in frequencies.indices {
            // θ_i = base^(−2i/d)
            frequencies.initializeElement(at: i, to: scaled(1 / pow(base, Float(2 * i) / Float(headSize))))
        }
    }

    private func scaled(_ frequency: Float) -> Float {
        switch scaling {
        case .none, .dynamic: return frequency
        case .linear(let factor): return frequency / factor
        case .llama3(let factor, let low, let high, let original):
            let wavelength = 2 * Float.pi / frequency
            if wavelength < Float(original) / high { return frequency }
            if wavelength > Float(original) / low { return frequency / factor }
            let smooth = (Float(original) / wavelength - low) / (high - low)
            return (1 - smooth) * frequency / factor + smooth * frequency
        }
    }

    /// Whether the frequencies depend on the length of the sequence.
    public var dependsOnLength: Bool {
        if case .dynamic = scaling { true } else { false }
    }
}

extension RotaryPositions {
    private static let scalingKeys: [String: Set<String>] = [
        "default": [], "linear": ["factor"], "dynamic": ["factor"],
        "llama3": ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
    ]

    /// Reads `rope_scaling`, or the `rope_parameters` of newer transformers, and `rope_theta` for what they leave out.
    ///
    /// A kind of scaling that is not computed is refused: ignoring it would give wrong text, not an error.
    init(_ config: JSONNode, maximumPositions: Int) throws {
        let theta = try config["rope_theta"].nonNull?.positiveNumber(atMost: 1e12) ?? 10_000
        guard let rope = try Self.parameters(config) else {
            self.init(base: theta)
            return
        }
        self.init(
            base: try rope["rope_theta"].nonNull?.positiveNumber(atMost: 1e12) ?? theta,
            scaling: try Self.scaling(rope, maximumPositions: maximumPositions))
    }

    /// The object that counts: transformers takes `rope_scaling` unless it is null or empty.
    private static func parameters(_ config: JSONNode) throws -> JSONNode? {
        for node in [config["rope_scaling"], config["rope_parameters"]] where !node.isNull {
            if try !node.object().members.isEmpty { return node }
        }
        return nil
    }

    private static func scaling(_ rope: JSONNode, maximumPositions: Int) throws -> Scaling {
        if let part = rope["partial_rotary_factor"].nonNull, try part.number() != 1 {
            throw part.unsupported(supported: "1")
        }
        let typeNode = rope["rope_type"].nonNull ?? rope["type"]
        let type = try typeNode.nonNull?.string() ?? "default"
        // Parameters by kind of layer: the model rotates layers differently.
        for (_, node) in try rope.members() {
            if case .object = node.value { throw node.unsupported(supported: "one rotation for all layers") }
        }
        func factor(_ key: String) throws -> Float { try rope[key].positiveNumber(atMost: 1e6) }
        switch type {
        case "default": return .none
        case "linear": return .linear(factor: try factor("factor"))
        case "dynamic": return .dynamic(factor: try factor("factor"), original: maximumPositions)
        case "llama3":
            let (low, high) = (try factor("low_freq_factor"), try factor("high_freq_factor"))
            guard low < high else {
                throw rope["low_freq_factor"].malformed("\(low) is not below \"high_freq_factor\" (\(high))")
            }
            let original = rope["original_max_position_embeddings"].nonNull
            return .llama3(
                factor: try factor("factor"), lowFrequencyFactor: low, highFrequencyFactor: high,
                original: try original?.integer(in: 1...Int(Int32.max)) ?? maximumPositions)
        default: throw typeNode.unsupported(supported: "\"default\", \"linear\", \"dynamic\" and \"llama3\"")
        }
    }

    /// A warning for each key that the kind of scaling does not use; transformers warns of them too, and ignores them.
    static func warnings(_ config: JSONNode) throws -> [String] {
        let original = config["original_max_position_embeddings"].nonNull
        let outside = original.map { ["\($0.file): \"\($0.path)\" has no effect outside of \"rope_scaling\"."] } ?? []
        guard let rope = try parameters(config) else { return outside }
        let type = try (rope["rope_type"].nonNull ?? rope["type"]).nonNull?.string() ?? "default"
        let used = (scalingKeys[type] ?? []).union(["rope_type", "type", "rope_theta", "partial_rotary_factor"])
        return try outside
            + rope.members().filter { !used.contains($0.key) && !$0.node.isNull }.map {
                "\(rope.file): \"\($0.node.path)\" has no effect with the type \"\(type)\"."
            }
    }

    /// Positions that a model has whose `config.json` states so many: linear and dynamic scaling stretch them.
    func stretched(_ positions: Int) -> Int {
        switch scaling {
        case .none, .llama3: positions
        case .linear(let factor): Int(min(Double(positions) * Double(factor), Double(Int32.max)))
        case .dynamic(let factor, let original): Int(min(Double(original) * Double(factor), Double(Int32.max)))
        }
    }
}

extension JSONNode {
    /// A number above zero and at most `limit`, in single precision.
    func positiveNumber(atMost limit: Double) throws -> Float {
        let number =
            switch value {
            case .number(let number): number
            case .integer(let integer): Double(integer)
            default: Double.nan
            }
        guard number > 0, number <= limit, Float(number) > 0 else {
            throw mismatch("a positive number, at most \(limit)")
        }
        return Float(number)
    }
}
