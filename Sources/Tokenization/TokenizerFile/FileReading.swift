import Foundation
import JSON
import TensorFiles

/// No tokenizer comes near this size; a larger file is refused before it is read.
let maximumTokenizerFileBytes = 256 << 20

/// The bytes of a tokenizer's file, or a typed error.
func readTokenizerFile(at url: URL, limit: Int = maximumTokenizerFileBytes) throws -> Data {
    do {
        return try readSmallFile(url, limit: limit)
    } catch FileError.tooLarge(let file, let bytes, let limit) {
        throw TokenizerError.tooLarge(file: file, bytes: bytes, limit: limit)
    } catch FileError.cannotRead(let file, let reason) {
        throw TokenizerError.unreadable(file: file, reason: reason)
    } catch FileError.notARegularFile(let file) {
        throw TokenizerError.unreadable(file: file, reason: "not a plain file")
    }
}

/// Calls `body` with a reader over `data`, and gives its failures the name of the file.
func withJSONReader<Result>(
    of data: Data,
    file: String,
    _ body: (inout JSONReader) throws -> Result
) throws -> Result {
    try data.withUnsafeBytes { raw in
        do {
            var reader = try JSONReader(validating: raw)
            return try body(&reader)
        } catch let error as JSONError {
            let key = error.problem == .notUTF8 ? "" : "byte \(error.offset)"
            throw TokenizerError.malformed(file: file, key: key, reason: error.reason)
        }
    }
}
