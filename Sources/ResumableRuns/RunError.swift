import Foundation

/// Why a run does not begin, or does not go on where an earlier one stopped.
public enum RunError: LocalizedError, Sendable, Hashable {
    case invalidSetting(name: String, value: String, expected: String)
    /// Something unfinished is there, and nobody asked to go on with it.
    case workExists(directory: URL)
    case settingsChanged(directory: URL, key: String, saved: String, given: String)
    /// What an earlier run left is not what it wrote.
    case damagedState(directory: URL, reason: String)

    public var errorDescription: String? {
        switch self {
        case .invalidSetting(let name, let value, let expected):
            "\(name) is \(value), expected \(expected)."
        case .workExists(let directory):
            "\(directory.path): holds an unfinished run."
        case .settingsChanged(let directory, let key, let saved, let given):
            "\(directory.path): started with \(key) = \(saved), now given \(given)."
        case .damagedState(let directory, let reason):
            "\(directory.path): damaged state of a run: \(reason)."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .invalidSetting: nil
        case .workExists: "Resume it, or delete it."
        case .settingsChanged: "Resume with the settings of the first run, or delete what it left there."
        case .damagedState: "Delete it and resume from the state before."
        }
    }
}
