import Foundation
import FuzzSupport
import JSON
import Tokenization
import TokenizerExercise

// The input is tokenizer.model.

private let directory = ScratchDirectory()
private let file = directory.url.appending(path: "tokenizer.model")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    directory.put(FuzzInput(start, count)[0], at: "tokenizer.model")
    let loaded = refusing(with: TokenizerError.self, FileError.self) { try BytePairTokenizer(tokenizerModel: file) }
    if let loaded { exercise(loaded, text: sampleText) }
    return 0
}
