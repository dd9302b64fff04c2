import Foundation
import OneBitRuntime
import TensorFiles
import Testing

struct ReleasedModelTests {
    @Test("A packed checkpoint of the paper's authors gives the logits of the same tensors in our form")
    func sameLogits() throws {
        let model = try TinyPackedModel(hiddenSize: 16, intermediateSize: 24)
        let tokens = model.tokens(12)
        let expected = try model.model().logits(of: tokens)

        let url = model.directory.appending(path: "config.json")
        let released = try String(decoding: model.configuration.jsonData(quantization: nil), as: UTF8.self)
            .replacingOccurrences(of: "\"llama\"", with: "\"bitllama\"")
            .replacingOccurrences(of: "\"LlamaForCausalLM\"", with: "\"BitLlamaForCausalLMInf\"")
        try Data(released.utf8).write(to: url)
        #expect(try model.model().logits(of: tokens) == expected)
    }
}
