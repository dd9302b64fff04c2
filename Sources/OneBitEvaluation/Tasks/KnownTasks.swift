import Foundation

/// The tasks that have names.
public enum KnownTasks {
    /// The six of OneBit's Table 2, in the order of its columns.
    public static let paper: [any EvaluationTask] = [
        WinoGrande(), HellaSwag(), PIQA(), BoolQ(), ARC.easy, ARC.challenge,
    ]

    /// All names.
    public static let names = all(mmluShots: 0).map(\.name)

    /// The task of a name, or of a task file.
    ///
    /// - Parameters:
    ///   - name: one of ``names``, or the path of a file that ends with `.json` (see ``CustomTask``).
    ///   - mmluShots: examples before each question of MMLU, 0 to 5.
    /// - Throws: ``UnknownTaskError``, and what reading a task file throws.
    public static func task(_ name: String, mmluShots: Int = 0) throws -> any EvaluationTask {
        if name.hasSuffix(".json") { return try CustomTask(contentsOf: URL(filePath: name)) }
        guard let task = all(mmluShots: mmluShots).first(where: { $0.name == name }) else {
            throw UnknownTaskError(name: name)
        }
        return task
    }

    private static func all(mmluShots: Int) -> [any EvaluationTask] {
        paper + [MMLU(shots: mmluShots), LAMBADA()]
    }
}

/// A name that no task has.
public struct UnknownTaskError: LocalizedError, Sendable, Equatable {
    public let name: String

    public var errorDescription: String? {
        "No task is called \"\(name)\". There are \(KnownTasks.names.joined(separator: ", ")), and task files, which end "
            + "with .json."
    }
}
