import Foundation

/// Calls `load`, and makes sure that what it throws is one of the errors that it promises to throw, and describes itself.
///
/// - Returns: what was loaded; nil where the input was refused.
public func refusing<Result>(with promised: any Error.Type..., load: () throws -> Result) -> Result? {
    do {
        return try load()
    } catch {
        let found = type(of: error as any Error)
        guard promised.contains(where: { $0 == found }), let error = error as? any LocalizedError,
            error.errorDescription?.isEmpty == false
        else { fatalError("not a promised error: \(error)") }
        return nil
    }
}

/// Stops the run where something that must hold does not.
@inline(__always)
public func require(_ condition: Bool, _ message: @autoclosure () -> String) {
    if !condition { fatalError(message()) }
}
