import JSON
import TensorFiles

extension Vocabulary {
    /// Adds the tokens of the object that `reader` comes to: tokens and their ids. An error names `file` and `key`.
    mutating func read(_ reader: inout JSONReader, file: String, key: String) throws {
        func malformed(_ token: [UInt8], _ reason: String) -> TokenizerError {
            let spelling = String(decoding: token, as: UTF8.self).prefix(64)
            return .malformed(file: file, key: key, reason: "token \"\(spelling)\": \(reason)")
        }
        try reader.readObject { reader, token in
            let kind = try reader.peekKind()
            guard kind == .number else { throw malformed(token, "expected an id, found \(kind.rawValue)") }
            let id = try reader.readInteger()
            do throws(Vocabulary.Refusal) {
                try insert(token, id: id)
            } catch {
                switch error {
                case .idOutOfRange:
                    throw malformed(token, "id \(id) is out of range; ids are 0 to \(Vocabulary.maximumID)")
                case .spellingTaken(let other):
                    throw malformed(token, "has two ids, \(other) and \(id)")
                case .idTaken:
                    let other = spelling(of: id).map { String(decoding: $0, as: UTF8.self) } ?? ""
                    throw malformed(token, "has id \(id), which is that of \"\(other.prefix(64))\" too")
                }
            }
        }
    }
}
