import Foundation
import JSON
import ModelDescription
import TestSupport
import Testing

/// Configurations of every family, by hand and as transformers 4 and 5 write them, and what transformers 5.24 makes of them:
/// `scripts/reference/configurations.py`.
struct TransformersConfigurationTests {
    @Test("A configuration is read as transformers reads it, whichever of its forms it has")
    func reading() throws {
        let directory = try TemporaryDirectory()
        let reference = try JSONNode(contentsOf: Reference.url("configurations.json"))
        let cases = try reference["cases"].elements()
        #expect(cases.count > 100)
        for (index, node) in cases.enumerated() {
            let text = try JSONValue.object(node["given"].object()).serialized()
            let comment = Comment(rawValue: "case \(index): \(text.prefix(2000))")
            let url = try directory.write(text, as: "config.json")
            let expected = node["expected"]
            do {
                let read = try ModelConfiguration(contentsOf: url)
                let scaling = try check(read.structure.positions, against: expected["rope"], comment)
                #expect(read.keyValueHeadCount == (try expected["heads"].integer()), comment)
                #expect(read.headSize == (try expected["head_size"].integer()), comment)
                #expect(read.maximumPositions == Int(Double(try expected["positions"].integer()) * scaling), comment)
                #expect(read.tiedEmbeddings == (try expected["tied"].boolean()), comment)
                #expect(read.beginOfSequence == (try expected["bos"].nonNull?.integer()), comment)
                #expect(read.endOfSequence == (try expected["eos"].integers()), comment)
                #expect(read.normEpsilon == Float(try expected["epsilon"].nonNull?.number() ?? 1e-5), comment)
                let windows = try expected["windows"].elements().map { try $0.nonNull?.integer() }
                #expect((0..<read.layerCount).map { read.block($0).slidingWindow } == windows, comment)
            } catch {
                Issue.record(error, comment)
            }
        }
    }

    /// - Returns: what the scaling stretches the stated positions by.
    private func check(
        _ positions: DecoderStructure.Positions, against rope: JSONNode, _ comment: Comment
    ) throws -> Double {
        guard let rope = rope.nonNull else {
            #expect(positions == .learned(offset: 2), comment)
            return 1
        }
        let factor = Float(try rope["factor"].nonNull?.number() ?? 1)
        let original = try rope["original"].nonNull?.integer()
        guard case .rotary(let rotary) = positions else {
            Issue.record(comment)
            return 1
        }
        #expect(rotary.base == Float(try rope["theta"].number()), comment)
        switch (try rope["type"].string(), rotary.scaling) {
        case ("default", .none): return 1
        case ("linear", .linear(factor)): return Double(factor)
        // The length that it counts from is max_position_embeddings, whatever else the file says.
        case ("dynamic", .dynamic(factor, _)): return Double(factor)
        case ("llama3", .llama3(factor, 1, 4, let found)): #expect(found == original, comment)
        default: Issue.record(comment)
        }
        return 1
    }
}
