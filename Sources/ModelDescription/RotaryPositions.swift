import Foundation

/// Rotary position embedding (Su et al. 2021), in Hugging Face's order: channel i of a head is paired with i + d/2, and
/// the pair turned by the angle position · θ_i.
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
        /// Slow frequencies divided by the factor, fast ones kept, a smooth passage between (Llama 3.1).
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
            fillFrequencies(UnsafeMutableBufferPointer(rebasing: buffer[..<(headSize / 2)]), sequenceLength: sequenceLength)
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
    /// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` of newer transformers.
    ///
    /// A scaling that is not computed is refused: ignoring it would give wrong text, not an error.
    init(_ reader: ConfigurationReader, maximumPositions: Int) throws {
        let limit = 1e12
        var base = try reader.positive("rope_theta", atMost: limit, default: 10_000)
        var scaling = Scaling.none
        let original = try reader.integer("original_max_position_embeddings", in: 1...Int(Int32.max), default: nil)
        for key in ["rope_scaling", "rope_parameters"] {
            guard let rope = try reader.nested(key) else { continue }
            base = try rope.positive("rope_theta", atMost: limit, default: base)
            scaling = try Self.scaling(rope, original: original ?? maximumPositions)
        }
        self.base = base
        self.scaling = scaling
    }

    private static func scaling(_ rope: ConfigurationReader, original fallback: Int) throws -> Scaling {
        let type = try rope.string("rope_type") ?? rope.string("type") ?? "default"
        var known: Set = [
            "rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings",
        ]
        if let part = rope.value("partial_rotary_factor"), part != .integer(1), part != .number(1) {
            throw rope.unsupported("partial_rotary_factor", "1", part)
        }
        func factor(_ key: String) throws -> Float {
            known.insert(key)
            guard rope.value(key) != nil else { throw rope.missing(key) }
            return try rope.positive(key, atMost: 1e6, default: 1)
        }
        let original =
            try rope.integer("original_max_position_embeddings", in: 1...Int(Int32.max), default: nil) ?? fallback
        let scaling: Scaling
        switch type {
        case "default": scaling = .none
        case "linear": scaling = .linear(factor: try factor("factor"))
        case "dynamic": scaling = .dynamic(factor: try factor("factor"), original: original)
        case "llama3":
            let (low, high) = (try factor("low_freq_factor"), try factor("high_freq_factor"))
            guard low < high else {
                throw ConfigurationError.inconsistent(
                    file: rope.file, reason: "\"low_freq_factor\" (\(low)) is not below \"high_freq_factor\" (\(high))")
            }
            scaling = .llama3(
                factor: try factor("factor"), lowFrequencyFactor: low, highFrequencyFactor: high, original: original)
        default:
            throw rope.unsupported(
                rope.value("rope_type") == nil ? "type" : "rope_type",
                "\"default\", \"linear\", \"dynamic\" and \"llama3\"", .string(type))
        }
        for member in rope.object.members where !known.contains(member.key) && member.value != .null {
            throw rope.unsupported(member.key, "null with type \"\(type)\"", member.value)
        }
        return scaling
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
