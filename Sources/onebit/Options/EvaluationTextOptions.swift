import ArgumentParser
import Foundation
import ModelDescription
import OneBitEvaluation
import Tokenization

/// The texts that models are evaluated on and how they are cut into windows.
struct EvaluationTextOptions: ParsableArguments {
    @Option(parsing: .upToNextOption, help: ArgumentHelp("Files of text, each evaluated by itself.", valueName: "file"))
    var text: [URL]

    @Option(
        help: ArgumentHelp(
            "How texts of a file are told apart: plain, jsonl or wikitext; by the file's name without it.",
            valueName: "format"))
    var format: EvaluationTextFormat?

    @Option(
        name: .customLong("protocol"),
        help: ArgumentHelp("What is predicted from what: gptq, strided, rolling or llama.cpp.", valueName: "name"))
    var windowProtocol: ProtocolName?

    @Option(help: ArgumentHelp("Tokens per window; 2048, or the model's context if it is shorter.", valueName: "n"))
    var window: Int?

    @Option(
        help: ArgumentHelp(
            "Tokens between the starts of consecutive windows; selects the strided protocol. Half a window unless given.",
            valueName: "n"))
    var stride: Int?

    @Option(
        help: ArgumentHelp(
            "Beginning-of-sequence tokens: front (one), each (one before each text, then not joined), window (one in place "
                + "of every window's first token) or none. Unless given, front or none, whichever the tokenizer does.",
            valueName: "place"))
    var bos: BeginOfSequencePlacement?

    @Option(help: ArgumentHelp("What joins the texts of a file; an empty line without it.", valueName: "text"))
    var separator: String?

    @Option(help: ArgumentHelp("Most texts of a file to take, from the front.", valueName: "n"))
    var limitTexts: Int?

    @Option(help: ArgumentHelp("Most windows of a file to evaluate, from the front.", valueName: "n"))
    var limitWindows: Int?

    @Option(
        help: ArgumentHelp(
            "Evaluate so many windows, each drawn at random from a text that is drawn at random, with Python's generator.",
            valueName: "n"))
    var draw: Int?

    @OptionGroup var seed: SeedOption

    /// The protocols by the names of who brought them up.
    enum ProtocolName: String, ExpressibleByArgument, CaseIterable {
        case gptq, strided, rolling
        case llamaCPP = "llama.cpp"
    }

    func validate() throws {
        if text.isEmpty { throw ValidationError("Give --text and one file or more.") }
        for (option, value) in [
            ("--limit-texts", limitTexts), ("--limit-windows", limitWindows), ("--window", window),
            ("--stride", stride),
        ] {
            try check(option, value, "1 or more") { $0 >= 1 }
        }
        if let draw, !(1...1_000_000).contains(draw) {
            throw ValidationError("--draw must lie between 1 and 1000000, not \(draw).")
        }
        if stride != nil, let windowProtocol, windowProtocol != .strided {
            throw ValidationError("--stride belongs to --protocol strided, not to \(windowProtocol.rawValue).")
        }
        if draw != nil, name != .gptq, name != .llamaCPP {
            throw ValidationError(
                "--draw makes windows that do not overlap; it goes with --protocol gptq or llama.cpp.")
        }
        if draw != nil, separator != nil { throw ValidationError("--draw joins no texts; leave --separator out.") }
    }

    private var name: ProtocolName { windowProtocol ?? (stride == nil ? .gptq : .strided) }

    /// The windows, for models of a context.
    func plan(context: Int) throws -> WindowPlan {
        let length = window ?? min(2048, context)
        let windowProtocol: WindowProtocol =
            switch name {
            case .gptq: .separate
            case .strided: .strided(stride: stride ?? length / 2)
            case .rolling: .rolling
            case .llamaCPP: .secondHalf
            }
        return try WindowPlan(windowProtocol, length: length, limit: limitWindows)
    }

    /// The files' texts.
    func texts() throws -> [EvaluationText] {
        try text.map { try EvaluationText(file: $0, format: format, limit: limitTexts ?? .max) }
    }

    /// A text's tokens, as protocol and options put them together.
    func tokens(
        of text: EvaluationText, plan: WindowPlan, tokenizer: any Tokenizer, configuration: ModelConfiguration
    ) throws -> TokenizedText {
        if plan.windowProtocol == .rolling {
            if let bos, bos != .each { throw EvaluationTextError.placementNotDefined(placement: bos) }
            return try text.separate(tokenizer: tokenizer)
        }
        let begin = tokenizer.beginOfSequence ?? configuration.beginOfSequence
        let placement = try placement(tokenizer: tokenizer)
        guard let draw else {
            return try text.joined(
                tokenizer: tokenizer, beginOfSequence: begin, placement: placement,
                separator: separator ?? EvaluationText.emptyLine)
        }
        return try text.drawn(
            segments: draw, length: plan.length, seed: seed.seed, tokenizer: tokenizer, beginOfSequence: begin,
            placement: placement)
    }

    /// What was asked for, or what the tokenizer itself does.
    private func placement(tokenizer: any Tokenizer) throws -> BeginOfSequencePlacement {
        if let bos { return bos }
        if name == .llamaCPP, try tokenizer.opensSequences { return .window }
        return try tokenizer.opensSequences ? .front : .none
    }

    /// How the texts became tokens, for print.
    func description(tokenizer: any Tokenizer) throws -> String {
        if name == .rolling { return "one token before each text" }
        let begin =
            switch try placement(tokenizer: tokenizer) {
            case .front: "BOS in front"
            case .each: "BOS before each text"
            case .window: "BOS in place of every window's first token"
            case .none: "no BOS"
            }
        guard let draw else { return begin }
        return
            "\(draw) windows drawn from the texts as Python's random does with seed \(seed.seed), \(begin) of each text"
    }
}

extension EvaluationTextFormat: ExpressibleByArgument {}
extension BeginOfSequencePlacement: ExpressibleByArgument {}

extension Tokenizer {
    /// Whether the tokenizer puts a beginning-of-sequence token before a text by itself.
    var opensSequences: Bool {
        get throws { try beginOfSequence.map { try encode("", addSpecialTokens: true).first == $0 } ?? false }
    }
}
