import ArgumentParser

/// Checks the value of an option before anything is done with it; a missing one is right.
///
/// - Parameters:
///   - option: its name as it is typed.
///   - expected: what it must be, behind "must be".
/// - Throws: `ValidationError` where `isRight` is false, and for what is no finite number.
func check(_ option: String, _ value: Double?, _ expected: String, _ isRight: (Double) -> Bool) throws {
    guard let value, !(value.isFinite && isRight(value)) else { return }
    throw ValidationError("\(option) must be \(expected), not \(value).")
}

func check(_ option: String, _ value: Int?, _ expected: String, _ isRight: (Int) -> Bool) throws {
    guard let value, !isRight(value) else { return }
    throw ValidationError("\(option) must be \(expected), not \(value).")
}
