/// How the tokenizers that come as `vocab.json` and `merges.txt` cut texts, by `tokenizer_class`.
struct ByteLevelPipeline {
    /// What BOS (of GPT-2), EOS and the unknown token are called where no file names them.
    static let standardToken = "<|endoftext|>"

    let normalizer: Normalizer?
    let preTokenizer: PreTokenizer
    let standardBeginOfSequence: String?

    init(configuration: JSONNode) throws {
        let addsPrefixSpace = try configuration["add_prefix_space"].boolean(default: false)
        let kind = configuration["tokenizer_class"]
        switch kind.isNull ? "GPT2Tokenizer" : try kind.string() {
        case "GPT2Tokenizer", "GPT2TokenizerFast":
            normalizer = nil
            preTokenizer = .byteLevel(addsPrefixSpace: addsPrefixSpace, splitsWords: true)
            standardBeginOfSequence = Self.standardToken
        case "Qwen2Tokenizer", "Qwen2TokenizerFast":
            normalizer = .canonicalComposition
            preTokenizer = .sequence([
                .split(.llama3Words(maximumDigits: 1), .isolated, inverted: false),
                .byteLevel(addsPrefixSpace: addsPrefixSpace, splitsWords: false),
            ])
            standardBeginOfSequence = nil
        case let name:
            throw kind.unsupported(
                "\(name) without tokenizer.json", supported: "GPT2Tokenizer, Qwen2Tokenizer; others with tokenizer.json"
            )
        }
    }
}
