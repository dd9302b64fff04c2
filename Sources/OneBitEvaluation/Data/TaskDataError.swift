import Foundation

/// What is wrong with the data of a task.
public enum TaskDataError: LocalizedError, Sendable, Equatable {
    /// None of the files that would hold the task's items is there.
    case missingFile(task: String, directory: String, lookedFor: [String])
    /// An item that cannot be asked. `key` is where in the item; empty where it is the whole of it.
    case malformedItem(file: String, line: Int, key: String, reason: String)
    /// A file without one item.
    case noItems(file: String)
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
        case .tooFewExamples(let file, let subject, let wanted, let found):
            "\(file): \(found) examples of \(subject), and \(wanted) are to be shown. Ask for fewer shots."
        }
    }

    public var recoverySuggestion: String? {
        guard case .malformedItem = self else { return nil }
        return "Correct the item, or leave malformed ones out."
    }
}
