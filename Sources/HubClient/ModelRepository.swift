import Foundation

/// A model on the hub: the name of its repository, a revision of it, and one file where not the whole model is meant.
///
/// Written `ORG/NAME`, `ORG/NAME@REVISION`, `ORG/NAME/FILE.gguf`, each of them also behind `hf://`.
public struct ModelRepository: Hashable, Sendable, CustomStringConvertible {
    /// `ORG/NAME`; a few old models have a name alone.
    public let id: String
    /// A branch, a tag, `refs/pr/N` or a commit.
    public let revision: String
    /// A path inside the repository, where the model is a single file.
    public let file: String?

    public static let defaultRevision = "main"

    /// - Throws: ``HubError/invalidName(_:reason:)``.
    public init(id: String, revision: String = defaultRevision, file: String? = nil) throws {
        guard Self.isValid(id: id) else {
            throw HubError.invalidName(
                id,
                reason:
                    "expected ORG/NAME, of at most 96 letters, digits, \".\", \"_\" and \"-\", none of these at either end "
                    + "of a part, without \"..\" and \"--\"")
        }
        guard Self.isValid(revision: revision) else {
            throw HubError.invalidName(
                "\(id)@\(revision)", reason: "expected a branch, a tag or a commit behind the \"@\"")
        }
        if let file, !RepositoryFile.isSafe(path: file) {
            throw HubError.invalidName("\(id)/\(file)", reason: "expected a path inside the repository")
        }
        (self.id, self.revision, self.file) = (id, revision, file)
    }

    /// Reads what stands for a model on a command line.
    ///
    /// - Returns: nil for what can only be a path on this machine: `./x`, `/x`, `x`, `x/y/z`.
    /// - Throws: ``HubError/invalidName(_:reason:)`` for what begins with `hf://` and goes on otherwise.
    public init?(reference: String) throws {
        let scheme = "hf://"
        let isExplicit = reference.hasPrefix(scheme)
        let text = isExplicit ? String(reference.dropFirst(scheme.count)) : reference
        let halves = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let parts = halves[0].split(separator: "/", omittingEmptySubsequences: false)
        let id = parts.prefix(2).joined(separator: "/")
        let file = parts.count > 2 ? parts.dropFirst(2).joined(separator: "/") : nil
        guard isExplicit else {
            guard parts.count >= 2, Self.isValid(id: id), halves.count == 1 || Self.isValid(revision: halves[1]) else {
                return nil
            }
            if let file, !RepositoryFile.isSafe(path: file) || !file.hasSuffix(".gguf") { return nil }
            try self.init(id: id, revision: halves.count == 2 ? halves[1] : Self.defaultRevision, file: file)
            return
        }
        try self.init(id: id, revision: halves.count == 2 ? halves[1] : Self.defaultRevision, file: file)
    }

    public var description: String {
        id + (file.map { "/\($0)" } ?? "") + (revision == Self.defaultRevision ? "" : "@\(revision)")
    }

    /// The last part of the name: what tables call the model.
    public var shortName: String {
        let name = file ?? id
        return String(name[(name.lastIndex(of: "/").map(name.index(after:)) ?? name.startIndex)...])
    }

    /// The rules of huggingface_hub's `validate_repo_id`.
    private static func isValid(id: String) -> Bool {
        let parts = id.split(separator: "/", omittingEmptySubsequences: false)
        return id.utf8.count <= 96 && (1...2).contains(parts.count) && !id.contains("--") && !id.contains("..")
            && !id.hasSuffix(".git")
            && parts.allSatisfy { part in
                part.utf8.allSatisfy { isWord($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
                    && part.utf8.first.map(isWord) == true && part.utf8.last.map(isWord) == true
            }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// A revision becomes a path below `refs`.
    private static func isValid(revision: String) -> Bool {
        RepositoryFile.isSafe(path: revision)
            && revision.unicodeScalars.allSatisfy { $0.isASCII && $0.value > 0x20 && $0.value < 0x7F }
    }

    /// Whether the revision names one commit for all time: a whole Git object id.
    var isCommit: Bool { Commit(revision) != nil }
}

/// The id of a commit: 40 hexadecimal digits, or 64 of Git's newer object format.
struct Commit: Hashable, Sendable, CustomStringConvertible {
    let description: String

    init?(_ text: String) {
        guard [40, 64].contains(text.utf8.count), text.utf8.allSatisfy(isLowercaseHexadecimal) else { return nil }
        description = text
    }
}

func isLowercaseHexadecimal(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
}
