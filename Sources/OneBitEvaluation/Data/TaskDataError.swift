import Foundation

/// What is wrong with the data of a task.
public enum TaskDataError: LocalizedError, Sendable, Equatable {
    /// None of the files that would hold the task's items is there.
    case missingFile(task: String, directory: String, lookedFor: [String])
    /// An item that cannot be asked. `key` is where in the item; empty where it is the whole of it.
    case malformedItem(file: String, line: Int, key: String, reason: String)
    /// A file without one item.
    case noItems(file: String)
    /// A gzip file that breaks off, or that its checksum does not fit.
    case damagedGzip(file: String, reason: String)
    /// More text than any of the data sets has.
    case unzippedTooLarge(file: String, limit: Int)
    /// A subject with fewer examples than are to be shown.
    case tooFewExamples(file: String, subject: String, wanted: Int, found: Int)

    public var errorDescription: String? {
        switch self {
        case .missingFile(let task, let directory, let lookedFor):
            "\(directory): no data for the task \(task). Looked for \(lookedFor.joined(separator: ", ")), each also "
                + "with .gz."
        case .malformedItem(let file, let line, let key, let reason):
            "\(file), line \(line)\(key.isEmpty ? "" : ", key \"\(key)\""): \(reason)."
        case .noItems(let file):
            "\(file): no items."
        case .damagedGzip(let file, let reason):
            "\(file): damaged gzip: \(reason). Fetch the file anew."
        case .unzippedTooLarge(let file, let limit):
            "\(file): more than \(limit) bytes unzipped, which none of the data sets has."
        case .tooFewExamples(let file, let subject, let wanted, let found):
            "\(file): \(found) examples of \(subject), and \(wanted) are to be shown. Ask for fewer shots."
        }
    }

    public var recoverySuggestion: String? {
        guard case .malformedItem = self else { return nil }
        return "Mend the item, or leave out what is malformed with --skip-malformed"
    }
}
