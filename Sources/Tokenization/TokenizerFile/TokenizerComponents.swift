import Foundation
import JSON

// What the components of `tokenizer.json` are called there, and their settings. Whatever is not here is refused by name.

/// How many times longer a text may become by what a file asks for. Those in use stay below 20; a file without bound could
/// make gigabytes of a short text.
private let maximumExpansion = 1024.0

/// A component of more steps than this is refused: each is a walk over the text. Those in use have fewer than ten.
private let maximumSteps = 64

/// A regular expression counts as so many steps: some take a quarter of a millisecond a byte before they are stopped.
private let stepsOfExpression = 8

/// Longer regular expressions are refused: to compile one can take time that grows with the square of its length. Those in
/// use have some hundred bytes.
private let maximumExpressionBytes = 8192

/// Refuses a component that would blow texts up, or walk over them without end.
private func check(steps: Int, expansion: Double, of node: JSONNode) throws {
    guard steps <= maximumSteps else { throw node.malformed("has more than \(maximumSteps) steps") }
    guard expansion <= maximumExpansion else {
        throw node.malformed("makes a text more than \(Int(maximumExpansion)) times longer")
    }
}

extension Normalizer {
    private static let supported = "Sequence, Prepend, Replace, NFC, Lowercase, Strip"

    /// Reads the `normalizer` of a file; nil where it is null.
    init?(_ node: JSONNode) throws {
        if node.isNull { return nil }
        self = try Normalizer(component: node)
        try check(steps: stepCount, expansion: expansion, of: node)
    }

    private init(component node: JSONNode) throws {
        switch try node.type() {
        case "Sequence":
            self = .sequence(try node["normalizers"].elements().map(Normalizer.init(component:)))
        case "Prepend":
            self = .prepend(Array(try node["prepend"].string().utf8))
        case "Replace":
            let pattern = try SearchPattern(node["pattern"])
            self = .replace(pattern, with: Array(try node["content"].string().utf8))
        case "NFC":
            self = .canonicalComposition
        case "Lowercase":
            self = .lowercase
        case "Strip":
            let left = try node["strip_left"].boolean(default: false)
            self = .strip(left: left, right: try node["strip_right"].boolean(default: false))
        case let type:
            throw node.unsupported("normalizer \(type)", supported: Self.supported)
        }
    }
}

extension Normalizer {
    private var stepCount: Int {
        switch self {
        case .sequence(let normalizers): normalizers.reduce(0) { $0 + $1.stepCount }
        case .replace(let pattern, _): pattern.stepCount
        default: 1
        }
    }

    /// How many times longer a text can become.
    private var expansion: Double {
        switch self {
        case .sequence(let normalizers): normalizers.reduce(1) { $0 * $1.expansion }
        case .prepend(let prefix), .dummyPrefix(let prefix, _): 1 + Double(prefix.count)
        case .replace(let pattern, let content): pattern.expansion(replacingWith: content)
        case .canonicalComposition, .lowercase: 3
        case .strip, .collapseSpaces: 1
        }
    }
}

extension PreTokenizer {
    private static let supported = "Sequence, Split, ByteLevel, Metaspace, Digits"

    /// Reads the `pre_tokenizer` of a file; nil where it is null.
    init?(_ node: JSONNode) throws {
        if node.isNull { return nil }
        self = try PreTokenizer(component: node)
        try check(steps: stepCount, expansion: expansion, of: node)
    }

    private init(component node: JSONNode) throws {
        switch try node.type() {
        case "Sequence":
            let elements = try node["pretokenizers"].elements()
            for element in elements.dropLast() where try element.type() == "ByteLevel" {
                // What follows would have to work on spelled bytes.
                throw element.unsupported("ByteLevel before other pre-tokenizers", supported: "ByteLevel at the end")
            }
            self = .sequence(try elements.filter { !$0.isNull }.map(PreTokenizer.init(component:)))
        case "Split":
            guard let behavior = SplitBehavior(rawValue: try node["behavior"].string()) else {
                let supported = SplitBehavior.allCases.map(\.rawValue).joined(separator: ", ")
                throw node["behavior"].unsupported(supported: supported)
            }
            let inverted = try node["invert"].boolean(default: false)
            self = .split(try SearchPattern(node["pattern"]), behavior, inverted: inverted)
        case "ByteLevel":
            let addsPrefixSpace = try node["add_prefix_space"].boolean(default: true)
            let splitsWords = try node["use_regex"].boolean(default: true)
            self = .byteLevel(addsPrefixSpace: addsPrefixSpace, splitsWords: splitsWords)
        case "Metaspace":
            self = .metaspace(try Metaspace(node), splits: try node["split"].boolean(default: true))
        case "Digits":
            self = .digits(individually: try node["individual_digits"].boolean(default: false))
        case let type:
            throw node.unsupported("pre-tokenizer \(type)", supported: Self.supported)
        }
    }

    private var stepCount: Int {
        switch self {
        case .sequence(let steps): steps.reduce(0) { $0 + $1.stepCount }
        case .split(let pattern, _, _): pattern.stepCount
        default: 1
        }
    }

    /// How many times longer a text can become: in the worst case every character is a word of its own.
    private var expansion: Double {
        switch self {
        case .sequence(let steps): steps.reduce(1) { $0 * $1.expansion }
        case .split, .digits: 1
        case .byteLevel(let addsPrefixSpace, _): addsPrefixSpace ? 2 : 1
        case .metaspace(let metaspace, _): 1 + Double(metaspace.replacement.count)
        }
    }

    /// Whether the words come out in the byte alphabet.
    var isByteLevel: Bool {
        switch self {
        case .byteLevel: true
        case .sequence(let steps): steps.last?.isByteLevel ?? false
        default: false
        }
    }
}

extension Metaspace {
    /// Reads the settings that the pre-tokenizer and the decoder share.
    init(_ node: JSONNode) throws {
        let replacement = try node["replacement"].string()
        guard replacement.unicodeScalars.count == 1 else { throw node["replacement"].mismatch("a single character") }
        self.replacement = Array(replacement.utf8)
        // Older files have a boolean instead of the scheme.
        let standard = try node["add_prefix_space"].boolean(default: true) ? PrependScheme.always : .never
        let named = node["prepend_scheme"].isNull ? standard.rawValue : try node["prepend_scheme"].string()
        guard let scheme = PrependScheme(rawValue: named) else {
            let supported = PrependScheme.allCases.map(\.rawValue).joined(separator: ", ")
            throw node["prepend_scheme"].unsupported("\"\(named)\"", supported: supported)
        }
        self.scheme = scheme
    }
}

extension SearchPattern {
    /// Reads `{"String": …}` or `{"Regex": …}`.
    init(_ node: JSONNode) throws {
        if !node["String"].isNull {
            self = .literal(Array(try node["String"].string().utf8))
            return
        }
        try self.init(expression: try node["Regex"].string(), at: node["Regex"])
    }

    /// What matches a regular expression, which stands at `node`.
    init(expression pattern: String, at node: JSONNode) throws {
        switch pattern {
        case WordScanner.gpt2Pattern: self = .gpt2Words
        case WordScanner.llama3Pattern(digits: "{1,3}"): self = .llama3Words(maximumDigits: 3)
        case WordScanner.llama3Pattern(digits: ""): self = .llama3Words(maximumDigits: 1)
        case WordScanner.tekkenPattern: self = .tekkenWords
        default:
            guard pattern.utf8.count <= maximumExpressionBytes else {
                throw node.malformed("more than \(maximumExpressionBytes) bytes")
            }
            do {
                let expression = try NSRegularExpression(pattern: pattern)
                self = .regularExpression(RegularExpression(expression, file: node.file, key: node.path))
            } catch {
                throw node.malformed("not a regular expression: \(pattern.prefix(200))")
            }
        }
    }
}

extension SearchPattern {
    fileprivate var stepCount: Int {
        if case .regularExpression = self { stepsOfExpression } else { 1 }
    }

    /// How many times longer a text can become when every match is replaced.
    fileprivate func expansion(replacingWith content: [UInt8]) -> Double {
        guard case .literal(let pattern) = self else { return max(1, Double(content.count)) }
        return max(1, Double(content.count) / Double(max(1, pattern.count)))
    }
}

extension PostProcessor {
    /// More tokens than this around a text are refused.
    private static let maximumTokens = 1024

    private static let supported = "Sequence, TemplateProcessing, ByteLevel"

    /// Reads the `post_processor` of a file, as far as it concerns ids of a single text.
    init(_ node: JSONNode) throws {
        if node.isNull { return }
        switch try node.type() {
        case "Sequence":
            for inner in try node["processors"].elements().map(PostProcessor.init) {
                prefix = inner.prefix + prefix
                suffix += inner.suffix
                try checkCount(node)
            }
        case "TemplateProcessing":
            try readTemplate(node)
        case "ByteLevel":
            break  // trims offsets, which we do not give
        case let type:
            throw node.unsupported("post-processor \(type)", supported: Self.supported)
        }
    }

    private func checkCount(_ node: JSONNode) throws {
        guard prefix.count + suffix.count <= Self.maximumTokens else {
            throw node.malformed("adds more than \(Self.maximumTokens) tokens")
        }
    }

    private mutating func readTemplate(_ node: JSONNode) throws {
        var hasText = false
        for piece in try node["single"].elements() {
            if !piece["Sequence"].isNull {
                guard !hasText, try piece["Sequence"]["id"].string() == "A" else {
                    throw piece.unsupported("a second text in the template of one", supported: "Sequence A, once")
                }
                hasText = true
                continue
            }
            let name = try piece["SpecialToken"]["id"].string()
            let ids = try node["special_tokens"][name]["ids"].elements().map { try $0.integer() }
            if hasText { suffix += ids } else { prefix += ids }
            try checkCount(node)
        }
        guard hasText else { throw node["single"].malformed("the template has no place for the text (Sequence A)") }
    }
}

extension TextDecoder {
    private static let supported = "Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace"

    /// Reads the `decoder` of a file.
    init(_ node: JSONNode) throws {
        var stages: [any DecoderStage] = []
        var isFused = false
        if node.isNull {
            stages.append(JoinStage())
        } else {
            try Self.read(node, into: &stages, isFused: &isFused)
        }
        let replacements = stages.compactMap { $0 as? ReplaceStage }
        let expansion = replacements.reduce(1) {
            $0 * SearchPattern.literal($1.pattern).expansion(replacingWith: $1.content)
        }
        try check(steps: stages.count, expansion: expansion, of: node)
        self.init(stages: stages)
    }

    /// Appends the stages of a decoder. `isFused` says whether the tokens that come are parts of a single one.
    private static func read(_ node: JSONNode, into stages: inout [any DecoderStage], isFused: inout Bool) throws {
        let type = try node.type()
        func append(_ stage: some DecoderStage) {
            if isFused { stages.append(CollectStage()) }
            stages.append(stage)
        }
        switch type {
        case "Sequence":
            for element in try node["decoders"].elements() { try read(element, into: &stages, isFused: &isFused) }
        case "ByteLevel":
            append(ByteLevelStage())
            isFused = true
        case "Replace":
            let content = Array(try node["content"].string().utf8)
            // Decoding never fails, which an expression might.
            let pattern = node["pattern"]
            guard pattern["Regex"].isNull else {
                throw pattern["Regex"].unsupported("a regular expression in a decoder", supported: "String")
            }
            append(ReplaceStage(pattern: Array(try pattern["String"].string().utf8), content: content))
        case "ByteFallback":
            append(ByteFallbackStage(invalidRun: .replacedWhole))
        case "Fuse":
            // Pieces of text one after the other are the fused text already.
            isFused = true
        case "Strip":
            let content = try node["content"].string()
            guard content.unicodeScalars.count == 1 else { throw node["content"].mismatch("a single character") }
            let start = try node["start"].integer()
            let stop = try node["stop"].integer()
            let stage = StripStage(content: Array(content.utf8), start: start, stop: stop)
            if isFused { stages.append(FusedStripStage(stage)) } else { stages.append(stage) }
        case "Metaspace":
            append(MetaspaceStage(try Metaspace(node)))
        default:
            throw node.unsupported("decoder \(type)", supported: supported)
        }
    }
}
