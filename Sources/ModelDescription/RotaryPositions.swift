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
        /// YaRN (Peng et al. 2023, section 3): frequencies that turn less than `slowTurns` times in the original context are
        /// divided by the factor, those that turn more than `fastTurns` times kept, and between them the division fades
        /// linearly in i.
        ///
        /// - Parameter roundsRange: whether the ends of that range are rounded outward to whole i.
        case yarn(factor: Float, fastTurns: Float, slowTurns: Float, original: Int, roundsRange: Bool)
        /// LongRoPE (Ding et al. 2024): θ_i / short_i, and θ_i / long_i in a sequence longer than the original context.
        case longRoPE(short: [Float], long: [Float], original: Int)
    }

    /// Base of the frequencies, `rope_theta`.
    public let base: Float
    public let scaling: Scaling
    /// Factor of all cosines and sines; scores grow by its square.
    public let attentionFactor: Float
    /// Part of a head's channels that is rotated, its first ones; the others pass as they are.
    public let rotatedFraction: Double

    public init(base: Float, scaling: Scaling = .none, attentionFactor: Float = 1, rotatedFraction: Double = 1) {
        self.base = base
        self.scaling = scaling
        self.attentionFactor = attentionFactor
        self.rotatedFraction = rotatedFraction
    }

    /// d, the channels of a head that are rotated.
    public func rotatedChannels(headSize: Int) -> Int { Int(Double(headSize) * rotatedFraction) }

    /// θ_i, i < d/2, of a sequence of so many tokens, in single precision step by step as transformers computes them,
    /// whose rounding shows at large positions.
    ///
    /// - Parameters:
    ///   - headSize: channels of a head.
    ///   - sequenceLength: tokens of the sequence, those yet to be read of the pass included; matters where
    ///     ``dependsOnLength``.
    public func frequencies(headSize: Int, sequenceLength: Int) -> [Float] {
        let half = rotatedChannels(headSize: headSize) / 2
        return [Float](unsafeUninitializedCapacity: half) { buffer, count in
            fillFrequencies(UnsafeMutableBufferPointer(rebasing: buffer[..<half]), sequenceLength: sequenceLength)
            count = half
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
            frequencies.initializeElement(at: i, to: pow(base, Float(2 * i) / Float(headSize)))
        }
        switch scaling {
        case .longRoPE(let short, let long, let original):
            let factors = sequenceLength > original ? long : short
            for i in frequencies.indices { frequencies[i] = 1 / (factors[i] * frequencies[i]) }
        case .yarn(let factor, _, _, _, _):
            let range = fadingRange(headSize: headSize)
            for i in frequencies.indices {
                let divided = min(max((Float(i) - range.lower) / (range.upper - range.lower), 0), 1)
                // transformers computes both shares from the rounded larger one.
                let kept = 1 - divided
                frequencies[i] = 1 / (factor * frequencies[i]) * (1 - kept) + 1 / frequencies[i] * kept
            }
        default:
            for i in frequencies.indices { frequencies[i] = scaled(1 / frequencies[i]) }
        }
    }

    /// Between which i YaRN's division fades in: i turns n times in the original context L where L θ_i = 2π n.
    private func fadingRange(headSize: Int) -> (lower: Float, upper: Float) {
        guard case .yarn(_, let fast, let slow, let original, let isRounded) = scaling else { return (0, 1) }
        func index(turns: Float) -> Double {
            Double(headSize) * log(Double(original) / (Double(turns) * 2 * Double.pi)) / (2 * log(Double(base)))
        }
        var (lower, upper) = (index(turns: fast), index(turns: slow))
        if isRounded { (lower, upper) = (lower.rounded(.down), upper.rounded(.up)) }
        (lower, upper) = (max(lower, 0), min(upper, Double(headSize - 1)))
        return (Float(lower), Float(lower == upper ? upper + 0.001 : upper))
    }

    private func scaled(_ frequency: Float) -> Float {
        switch scaling {
        case .none, .dynamic, .yarn, .longRoPE: return frequency
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
    public var dependsOnLength: Bool { longestAlike != nil }

    /// Tokens of the longest sequence that is rotated as every shorter one; nil where all sequences are rotated alike.
    public var longestAlike: Int? {
        switch scaling {
        case .dynamic(_, let original), .longRoPE(_, _, let original): original
        case .none, .linear, .llama3, .yarn: nil
        }
    }
}

extension RotaryPositions {
    /// Keys of each kind of scaling, by its name.
    private static let scalingKeys: [String: Set<String>] = [
        "default": [], "linear": ["factor"], "dynamic": ["factor"],
        "llama3": ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
        "yarn": [
            "factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate",
            "original_max_position_embeddings",
        ],
        "longrope": ["factor", "attention_factor", "short_factor", "long_factor", "original_max_position_embeddings"],
    ]

    /// Kinds whose original context is read outside of `rope_scaling` too, where it takes precedence as in transformers.
    private static let readsOriginalOutside: Set = ["yarn", "longrope"]

    /// Reads `rope_scaling`, or the `rope_parameters` of newer transformers, and what they leave out outside of them.
    ///
    /// A kind of scaling that is not computed is refused: ignoring it would give wrong text, not an error.
    ///
    /// - Parameters:
    ///   - defaultBase: what a missing `rope_theta` means.
    ///   - defaultFraction: what a missing `partial_rotary_factor` means; nil where the family rotates whole heads.
    ///   - kinds: names that the family has for kinds of scaling.
    init(
        _ config: JSONNode, maximumPositions: Int, defaultBase: Float = 10_000, defaultFraction: Double? = nil,
        kinds: [String: String] = [:]
    ) throws {
        try self.init(
            Self.parameters(config), outside: config, maximumPositions: maximumPositions, defaultBase: defaultBase,
            defaultFraction: defaultFraction, kinds: kinds)
    }

    /// Reads one object of parameters.
    ///
    /// - Parameters:
    ///   - baseKey: the key outside of it that says what it leaves out of the base.
    init(
        _ rope: JSONNode?, outside config: JSONNode, baseKey: String = "rope_theta", maximumPositions: Int,
        defaultBase: Float, defaultFraction: Double? = nil, kinds: [String: String] = [:]
    ) throws {
        func parameter(_ key: String) -> JSONNode? { rope?[key].nonNull ?? config[key].nonNull }
        let base =
            try (rope?["rope_theta"].nonNull ?? config[baseKey].nonNull)?.positiveNumber(atMost: 1e12) ?? defaultBase
        var fraction = defaultFraction ?? 1
        let isWhole = defaultFraction == nil
        if let part = isWhole ? rope?["partial_rotary_factor"].nonNull : parameter("partial_rotary_factor") {
            fraction = try part.number()
            guard !isWhole || fraction == 1 else { throw part.unsupported(supported: "1") }
            guard fraction > 0, fraction <= 1 else { throw part.mismatch("a number above 0, at most 1") }
        }
        guard let rope else {
            self.init(base: base, rotatedFraction: fraction)
            return
        }
        let (scaling, attentionFactor) = try Self.scaling(
            rope, config, maximumPositions: maximumPositions, kinds: kinds)
        if case .yarn = scaling, base <= 1 { throw rope["rope_theta"].mismatch("a number above 1") }
        self.init(base: base, scaling: scaling, attentionFactor: attentionFactor, rotatedFraction: fraction)
    }

    /// The object that counts: transformers takes `rope_scaling` unless it is null or empty.
    private static func parameters(_ config: JSONNode) throws -> JSONNode? {
        for node in [config["rope_scaling"], config["rope_parameters"]] where !node.isNull {
            if try !node.object().members.isEmpty { return node }
        }
        return nil
    }

    private static func typeNode(_ rope: JSONNode) -> JSONNode { rope["rope_type"].nonNull ?? rope["type"] }

    private static func scaling(
        _ rope: JSONNode, _ config: JSONNode, maximumPositions: Int, kinds: [String: String]
    ) throws -> (Scaling, attentionFactor: Float) {
        // Parameters by kind of layer: the model rotates layers differently.
        for (_, node) in try rope.members() {
            if case .object = node.value { throw node.unsupported(supported: "one rotation for all layers") }
        }
        let typeNode = typeNode(rope)
        let stated = try typeNode.nonNull?.string() ?? "default"
        let type = kinds[stated] ?? stated
        func number(_ key: String) throws -> Float { try rope[key].positiveNumber(atMost: 1e6) }
        func optional(_ key: String) throws -> Float? { try rope[key].nonNull?.positiveNumber(atMost: 1e6) }
        func original() throws -> Int {
            let outside = readsOriginalOutside.contains(type) ? config["original_max_position_embeddings"].nonNull : nil
            let node = outside ?? rope["original_max_position_embeddings"].nonNull
            return try node?.integer(in: 1...Int(Int32.max)) ?? maximumPositions
        }
        switch type {
        case "default": return (.none, 1)
        case "linear": return (.linear(factor: try number("factor")), 1)
        case "dynamic": return (.dynamic(factor: try number("factor"), original: maximumPositions), 1)
        case "llama3":
            let (low, high) = (try number("low_freq_factor"), try number("high_freq_factor"))
            guard low < high else {
                throw rope["low_freq_factor"].malformed("\(low) is not below \"high_freq_factor\" (\(high))")
            }
            return (
                .llama3(
                    factor: try number("factor"), lowFrequencyFactor: low, highFrequencyFactor: high,
                    original: try original()), 1
            )
        case "yarn":
            let original = try original()
            let factor = try optional("factor") ?? Float(Double(maximumPositions) / Double(original))
            // Peng et al., section 3.4; with `mscale` the quotient of two, as DeepSeek has it.
            func temperature(_ scale: Float) -> Double {
                factor <= 1 ? 1 : 0.1 * Double(scale) * log(Double(factor)) + 1
            }
            var attentionFactor = temperature(1)
            if let scale = try optional("mscale"), let all = try optional("mscale_all_dim") {
                attentionFactor = temperature(scale) / temperature(all)
            }
            return (
                .yarn(
                    factor: factor, fastTurns: try optional("beta_fast") ?? 32,
                    slowTurns: try optional("beta_slow") ?? 1, original: original,
                    roundsRange: try rope["truncate"].nonNull?.boolean() ?? true),
                try optional("attention_factor") ?? Float(attentionFactor)
            )
        case "longrope":
            let original = try original()
            let factor = try optional("factor").map(Double.init) ?? Double(maximumPositions) / Double(original)
            // Ding et al., section 4.
            let attentionFactor = factor <= 1 ? 1 : (1 + log(factor) / log(Double(original))).squareRoot()
            guard attentionFactor.isFinite else {
                throw rope["original_max_position_embeddings"].mismatch("an integer above 1")
            }
            func factors(_ key: String) throws -> [Float] {
                try rope[key].elements().map { try $0.positiveNumber(atMost: 1e6) }
            }
            return (
                .longRoPE(short: try factors("short_factor"), long: try factors("long_factor"), original: original),
                try optional("attention_factor") ?? Float(attentionFactor)
            )
        default:
            let kinds = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"].map { "\"\($0)\"" }
            throw typeNode.unsupported(supported: kinds.dropLast().joined(separator: ", ") + " and \(kinds.last!)")
        }
    }

    /// Checks that heads of so many channels can be rotated.
    ///
    /// - Throws: ``ConfigurationError/inconsistent(file:reason:)``
    func validate(headSize: Int, file: String) throws {
        let rotated = rotatedChannels(headSize: headSize)
        guard rotated > 0, rotated % 2 == 0 else {
            let what = rotatedFraction == 1 ? "the head size" : "the number of rotated channels of a head"
            throw ConfigurationError.inconsistent(
                file: file, reason: "\(what) (\(rotated)) is odd or 0; rotary embeddings need an even one")
        }
        guard case .longRoPE(let short, let long, _) = scaling else { return }
        for (key, factors) in [("short_factor", short), ("long_factor", long)] where factors.count != rotated / 2 {
            throw ConfigurationError.inconsistent(
                file: file,
                reason: "\"\(key)\" has \(factors.count) numbers; heads of \(headSize) channels need "
                    + "\(rotated / 2)")
        }
    }

    /// A warning for each key that the kind of scaling does not use; transformers warns of them too, and ignores them.
    func warnings(_ config: JSONNode) throws -> [String] {
        let rope = try Self.parameters(config)
        let type = scaling.name
        var warnings: [String] = []
        if let original = config["original_max_position_embeddings"].nonNull, !Self.readsOriginalOutside.contains(type)
        {
            warnings.append("\(original.file): \"\(original.path)\" has no effect outside of \"rope_scaling\".")
        }
        guard let rope else { return warnings }
        let used = (Self.scalingKeys[type] ?? []).union(["rope_type", "type", "rope_theta", "partial_rotary_factor"])
        return try warnings
            + rope.members().filter { !used.contains($0.key) && !$0.node.isNull && !$0.node.isObject }.map {
                "\(rope.file): \"\($0.node.path)\" has no effect with the type \"\(type)\"."
            }
    }

    /// Positions that a model has whose `config.json` states so many: linear and dynamic scaling and YaRN stretch them.
    func stretched(_ positions: Int) -> Int {
        func stretched(_ positions: Int, _ factor: Float) -> Int {
            Int(min(Double(positions) * Double(factor), Double(Int32.max)))
        }
        return switch scaling {
        case .none, .llama3, .longRoPE: positions
        case .linear(let factor): stretched(positions, factor)
        case .dynamic(let factor, let original): stretched(original, factor)
        // Some files state the stretched number, others the original one.
        case .yarn(let factor, _, _, let original, _): max(positions, stretched(original, factor))
        }
    }
}

extension RotaryPositions.Scaling {
    /// `rope_type`
    fileprivate var name: String {
        switch self {
        case .none: "default"
        case .linear: "linear"
        case .dynamic: "dynamic"
        case .llama3: "llama3"
        case .yarn: "yarn"
        case .longRoPE: "longrope"
        }
    }
}

extension JSONNode {
    /// Parameters of one kind of layer, which are warned of where they are read.
    fileprivate var isObject: Bool { if case .object = value { true } else { false } }

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
