import Foundation
import Testing

@testable import onebit

@Suite struct ModelCardTests {
    /// What is taken over from a teacher with that card.
    private func inherited(from card: String?) throws -> String {
        let directory = try BuiltCommand.temporaryFolder()
        defer { try? FileManager.default.removeItem(at: directory) }
        if let card { try Data(card.utf8).write(to: directory.appending(path: "README.md")) }
        return try BaseModel(directory: directory).inheritedMetadata()
    }

    @Test("License and languages are taken over from the teacher's card as they stand, and nothing else")
    func license() throws {
        let card = """
            ---
            language:
            - en
            - de
            license: other
            tags:
            - facebook
            license_name: "llama 2"   # a comment
            license_link:
              LICENSE

            pipeline_tag: text-generation
            ---
            license: of the text
            """
        let taken = """
            language:
            - en
            - de
            license: other
            license_name: "llama 2"   # a comment
            license_link:
              LICENSE

            """
        #expect(try inherited(from: card) == taken)
    }

    @Test(
        "A teacher without a card, without front matter, or with one that does not end, hands down nothing",
        arguments: [nil, "", "# A model\n", "---\nlicense: mit\n", "text\n---\nlicense: mit\n---\n"])
    func nothing(card: String?) throws {
        #expect(try inherited(from: card).isEmpty)
    }

    @Test("A model in the Hub's cache is called what the Hub calls it, any other by its directory")
    func identifiers() {
        let cached = "/root/.cache/huggingface/hub/models--meta-llama--Llama-2-7b-hf/snapshots/01c7f73d7"
        let base = ModelName(of: URL(filePath: cached))
        #expect(base.identifier == "meta-llama/Llama-2-7b-hf" && base.short == "Llama-2-7b-hf")
        let local = ModelName(of: URL(filePath: "/models/llama-7b/"))
        #expect(local.identifier == "llama-7b" && local.short == "llama-7b")
    }

    @Test("Strings and numbers are written so that YAML reads them as such")
    func yaml() {
        for plain in ["meta-llama/Llama-2-7b-hf", "held-out.jsonl"] { #expect(YAML.scalar(plain) == plain) }
        for (text, quoted) in [("true", "\"true\""), ("1.5", "\"1.5\""), ("a: b", "\"a: b\""), ("", "\"\"")] {
            #expect(YAML.scalar(text) == quoted)
        }
        #expect(YAML.number(1.25) == "1.25" && YAML.number(.infinity) == ".inf" && YAML.number(.nan) == ".nan")
    }
}
