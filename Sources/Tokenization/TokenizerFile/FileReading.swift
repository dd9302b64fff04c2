import Foundation
import ModelFiles

/// No tokenizer comes near this size; a larger file is refused before it is read.
let maximumTokenizerFileBytes = 256 << 20

/// The bytes of a tokenizer's file, or a typed error.
func readTokenizerFile(at url: URL, limit: Int = maximumTokenizerFileBytes) throws -> Data {
    do {
        let attributes = try FileManager.default.attributesOfItem(atPath: url.path)
        let bytes = (attributes[.size] as? NSNumber)?.intValue ?? 0
        guard bytes <= limit else {
            throw TokenizerError.tooLarge(file: url.path, bytes: bytes, limit: limit)
        }
        return try Data(contentsOf: url)
    } catch let error as TokenizerError {
        throw error
    } catch {
        throw TokenizerError.unreadable(file: url.path, reason: error.localizedDescription)
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
