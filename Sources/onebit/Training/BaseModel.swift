import Foundation
import JSON
import ModelDescription
import TensorFiles

/// The model that a compression began with, as its card and the Hub know it.
struct BaseModel {
    let directory: URL

    /// What the Hub calls it where the directory lies in the Hub's cache (`models--meta-llama--Llama-2-7b-hf/snapshots/…`);
    /// the directory's name elsewhere.
    var identifier: String {
        let prefix = "models--"
        let cached = directory.standardizedFileURL.pathComponents.last { $0.hasPrefix(prefix) }
        return cached.map { String($0.dropFirst(prefix.count)).replacing("--", with: "/") }
            ?? directory.standardizedFileURL.lastPathComponent
    }

    /// The identifier without its owner.
    var name: String { identifier.split(separator: "/").last.map(String.init) ?? identifier }

    /// What a compressed model takes over from its teacher's card: the lines of the front matter that say license and
    /// languages, as they stand there. Empty where the teacher has no card.
    ///
    /// - Throws: `FileError` for a card that cannot be read.
    func inheritedMetadata() throws -> String {
        let card = directory.appending(path: "README.md")
        guard FileManager.default.fileExists(atPath: card.path) else { return "" }
        let keys: Set = ["language", "license", "license_name", "license_link"]
        var inherited = ""
        var isInherited = false
        for line in Self.frontMatter(of: String(decoding: try readSmallFile(card), as: UTF8.self)) {
            // A key begins in the first column; what is indented, or is an item of a list, goes with the key before it.
            if let first = line.first, first.isLetter {
                isInherited = line.firstIndex(of: ":").map { keys.contains(String(line[..<$0])) } ?? false
            }
            if isInherited, !line.allSatisfy(\.isWhitespace) { inherited += line + "\n" }
        }
        return inherited
    }

    /// The lines between the two lines of hyphens that a card begins with.
    private static func frontMatter(of card: String) -> ArraySlice<Substring> {
        let lines = card.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        guard lines.first == "---", let end = lines.dropFirst().firstIndex(of: "---") else { return [] }
        return lines[1..<end]
    }
}

/// Values of YAML, of which JSON's are a part.
enum YAML {
    /// A string: as it stands where it is letters, digits and the like, quoted elsewhere.
    static func scalar(_ text: String) -> String {
        let isPlain =
            text.first?.isLetter == true
            && text.unicodeScalars.allSatisfy {
                $0.isASCII && ($0.properties.isAlphabetic || "0123456789._/-".unicodeScalars.contains($0))
            }
            && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(text.lowercased())
        return isPlain ? text : JSONValue.string(text).serialized()
    }

    /// A number; YAML has its own words for those that are not finite.
    static func number(_ value: Double) -> String {
        if value.isNaN { return ".nan" }
        if value.isInfinite { return value < 0 ? "-.inf" : ".inf" }
        return "\(value)"
    }
}
