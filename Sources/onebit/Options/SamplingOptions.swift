import ArgumentParser
import OneBitRuntime

/// How the next token is chosen, and when generation stops.
struct SamplingOptions: ParsableArguments {
    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Most tokens to generate.", valueName: "n"))
    var maxTokens = 256

    @Option(help: ArgumentHelp("Divides the logits before the softmax; 0 is greedy.", valueName: "t"))
    var temperature: Float = 0.8

    @Option(help: ArgumentHelp("Keep the k most likely tokens; 0 keeps all.", valueName: "k"))
    var topK = 0

    @Option(help: ArgumentHelp("Keep the most likely tokens that together reach this probability.", valueName: "p"))
    var topP: Float = 0.95

    @Option(help: ArgumentHelp("Keep tokens at least this share as probable as the top one.", valueName: "p"))
    var minP: Float = 0

    @Option(help: ArgumentHelp("Make recent tokens less likely; 1 changes nothing.", valueName: "r"))
    var repetitionPenalty: Float = 1

    @Flag(help: "Take the most likely token every time.")
    var greedy = false

    @Option(help: ArgumentHelp("A string that ends the text before it. May be given several times.", valueName: "text"))
    var stop: [String] = []

    @OptionGroup var seed: SeedOption

    func validate() throws {
        try check("--max-tokens", maxTokens, "0 or more") { $0 >= 0 }
        try check("--temperature", Double(temperature), "0 or more") { $0 >= 0 }
        try check("--top-k", topK, "0 or more") { $0 >= 0 }
        try check("--top-p", Double(topP), "above 0, at most 1") { $0 > 0 && $0 <= 1 }
        try check("--min-p", Double(minP), "between 0 and 1") { (0...1).contains($0) }
        try check("--repetition-penalty", Double(repetitionPenalty), "above 0") { $0 > 0 }
    }

    var parameters: GenerateParameters {
        GenerateParameters(
            maxTokens: maxTokens, temperature: greedy ? 0 : temperature, topK: topK, topP: topP, minP: minP,
            repetitionPenalty: repetitionPenalty, seed: seed.seed, stopStrings: stop)
    }
}
