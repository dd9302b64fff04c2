import Foundation
import FuzzSupport
import JSON
import Tokenization
import TokenizerExercise

// The input is tokenizer.json, and behind separators tokenizer_config.json and a text to encode.

private let directory = ScratchDirectory()
private let file = directory.url.appending(path: "tokenizer.json")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = FuzzInput(start, count, parts: 3)
    directory.put(input[0], at: "tokenizer.json")
    directory.put(input[1].flatMap { $0.isEmpty ? nil : $0 }, at: "tokenizer_config.json")
    if let tokenizer = refusing(
        with: TokenizerError.self, FileError.self, load: { try BytePairTokenizer(contentsOf: file) })
    {
        exercise(tokenizer, text: input[2].map { String(decoding: $0, as: UTF8.self) } ?? sampleText)
    }
    return 0
}
