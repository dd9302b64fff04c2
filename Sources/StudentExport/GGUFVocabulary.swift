import Foundation
import ModelDescription
import ModelFiles
import TensorFiles
import Tokenization

extension GGUFMetadata {
    /// Adds the tokenizer and the chat template of a model, as llama.cpp reads them (ggml's `docs/gguf.md`): of kind `gpt2`
    /// where words are spelled in bytes, else `llama`.
    ///
    /// - Throws: ``ExportError/tokenizerNotExpressible(file:key:found:)``, `TokenizerError`, `FileError`.
    mutating func addTokenizer(of student: Checkpoint) throws {
        let (directory, configuration) = (student.directory, student.configuration)
        guard let tokenizer = try loadTokenizer(from: directory) as? BytePairTokenizer else {
            throw TokenizerError.notFound(directory: directory.path)
        }
        let table = try TokenTable(tokenizer)
        let rows = configuration.vocabularySize
        guard table.spellings.count <= rows else {
            throw ExportError.notExpressible(
                directory: directory.path,
                what: "tokens that the embedding has no rows for (\(table.spellings.count) tokens, \(rows) rows)",
                format: "GGUF")
        }
        // There is a token for every row of the embedding.
        let spellings = table.spellings + (table.spellings.count..<rows).map { "[unused \($0)]" }
        let kinds = table.kinds + [TokenTable.Kind](repeating: .unused, count: rows - table.kinds.count)

        self["tokenizer.ggml.model"] = .string(table.isByteLevel ? "gpt2" : "llama")
        if table.isByteLevel {
            self["tokenizer.ggml.pre"] = .string(try tokenizer.ggufPreTokenizer.name(ofTokenizerIn: directory))
        }
        self["tokenizer.ggml.tokens"] = .array(GGUFArray(spellings))
        self["tokenizer.ggml.token_type"] = .array(GGUFArray(kinds.map(\.number)))
        if table.isByteLevel {
            self["tokenizer.ggml.merges"] = .array(GGUFArray(table.merges))
        } else {
            self["tokenizer.ggml.scores"] = .array(
                GGUFArray(table.scores + [Float](repeating: 0, count: rows - table.scores.count)))
            self["tokenizer.ggml.add_space_prefix"] = .bool(table.addsPrefix)
        }
        let ends = [tokenizer.endOfSequence].compactMap { $0 } + configuration.endOfSequence
        set("bos", tokenizer.beginOfSequence ?? configuration.beginOfSequence)
        set("eos", ends.first)
        // The second token that ends a text; llama.cpp has a key for the end of a turn.
        set("eot", ends.first { $0 != ends[0] })
        set("unknown", table.unknown)
        self["tokenizer.ggml.add_bos_token"] = .bool(table.addsBeginOfSequence)
        self["tokenizer.ggml.add_eos_token"] = .bool(table.addsEndOfSequence)
        try addChatTemplate(of: directory)
    }

    private mutating func set(_ token: String, _ id: Int?) {
        if let id { self["tokenizer.ggml.\(token)_token_id"] = .uint32(UInt32(id)) }
    }

    /// The template, and the one for conversations with tools where there is another.
    private mutating func addChatTemplate(of directory: URL) throws {
        let key = "tokenizer.chat_template"
        do {
            let (standard, withTools) = try ChatTemplateSource.templates(of: directory)
            self[key] = .string(standard.text)
            guard let withTools else { return }
            self["tokenizer.chat_templates"] = .array(GGUFArray(["tool_use"]))
            self[key + ".tool_use"] = .string(withTools.text)
        } catch ChatTemplateError.notFound, ChatTemplateError.notFoundBesideTekken {
            // Base models have none.
        }
    }
}

extension TokenTable.Kind {
    /// SentencePiece's number.
    fileprivate var number: Int32 {
        switch self {
        case .normal: 1
        case .unknown: 2
        case .control: 3
        case .userDefined: 4
        case .unused: 5
        case .byte: 6
        }
    }
}
