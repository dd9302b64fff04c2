import Foundation
import FuzzSupport
import JSON
import Tokenization
import TokenizerExercise

// The input is tekken.json where it begins as an object does. Else it is what the file has beside `vocab`, and behind separators
// what `vocab` has behind the 256 bytes, which no short input would have, and tokenizer_config.json.

private let directory = ScratchDirectory()
private let bytes = (UInt8.min...UInt8.max).map { byte in
    #"{"rank":\#(byte),"token_bytes":"\#(Data([byte]).base64EncodedString())"}"#
}.joined(separator: ",")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = FuzzInput(start, count, parts: 3)
    if input[0]?.first == UInt8(ascii: "{") {
        directory.put(input[0], at: "tekken.json")
    } else {
        var file = Data("{\"vocab\":[\(bytes)".utf8)
        file.append(contentsOf: input[1] ?? UnsafeRawBufferPointer(start: nil, count: 0))
        file.append(contentsOf: "],".utf8)
        file.append(contentsOf: input[0] ?? UnsafeRawBufferPointer(start: nil, count: 0))
        file.append(contentsOf: "}".utf8)
        file.withUnsafeBytes { directory.put($0, at: "tekken.json") }
    }
    directory.put(input[2].flatMap { $0.isEmpty ? nil : $0 }, at: "tokenizer_config.json")
    let loaded = refusing(with: TokenizerError.self, FileError.self) {
        try BytePairTokenizer(tekkenFile: directory.url.appending(path: "tekken.json"))
    }
    if let loaded { exercise(loaded, text: sampleText) }
    return 0
}
