import Foundation
import FuzzSupport
import JSON
import Tokenization
import TokenizerExercise

// The input is special_tokens_map.json, and behind separators tokenizer_config.json, added_tokens.json, merges.txt and
// vocab.json. Where one of the last two is empty, a small valid one takes its place, so that the others are read.

private let directory = ScratchDirectory()
private let vocabulary =
    #"{"<s>": 0, "<pad>": 1, "</s>": 2, "H": 3, "e": 4, "l": 5, "o": 6, "Ġ": 7, "w": 8, "ll": 9, "Ġw": 10}"#

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = FuzzInput(start, count, parts: 5)
    func part(_ index: Int) -> UnsafeRawBufferPointer? { input[index].flatMap { $0.isEmpty ? nil : $0 } }
    directory.put(part(0), at: "special_tokens_map.json")
    directory.put(part(1), at: "tokenizer_config.json")
    directory.put(part(2), at: "added_tokens.json")
    if let merges = part(3) {
        directory.put(merges, at: "merges.txt")
    } else {
        directory.put("l l\nĠ w", at: "merges.txt")
    }
    if let tokens = part(4) {
        directory.put(tokens, at: "vocab.json")
    } else {
        directory.put(vocabulary, at: "vocab.json")
    }
    let loaded = refusing(with: TokenizerError.self, FileError.self) {
        try BytePairTokenizer(
            vocabulary: directory.url.appending(path: "vocab.json"),
            merges: directory.url.appending(path: "merges.txt")
        )
    }
    if let loaded { exercise(loaded, text: sampleText) }
    return 0
}
