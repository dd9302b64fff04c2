import Foundation
import ResumableRuns
import TensorFiles

/// What a run was planned with, kept beside its work: a resumed run does the same though the machine has become faster or
/// slower.
struct PlanFile {
    /// Its name in the directory of a run's work.
    static let name = "plan.json"

    let url: URL

    init(_ url: URL) { self.url = url }

    init(in directory: URL) { url = directory.appending(path: Self.name) }

    /// Nil where there is none.
    ///
    /// - Throws: `RunError.damagedState(directory:reason:)`
    func read<Plan: Decodable>(_ type: Plan.Type) throws -> Plan? {
        guard FileManager.default.fileExists(atPath: url.path) else { return nil }
        do {
            return try JSONDecoder().decode(type, from: Data(contentsOf: url))
        } catch {
            throw RunError.damagedState(
                directory: url.deletingLastPathComponent(), reason: "\(url.lastPathComponent): \(error)")
        }
    }

    /// Writes the plan, and makes the directory where there is none.
    func write(_ plan: some Encodable) throws {
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        try writeAtomically(encoder.encode(plan), to: url)
    }
}
