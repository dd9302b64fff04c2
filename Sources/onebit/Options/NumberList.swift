import ArgumentParser

/// Whole numbers separated by commas, each once: `1,2,4,8`.
struct NumberList: ExpressibleByArgument {
    let numbers: [Int]

    init(_ numbers: [Int]) {
        self.numbers = numbers
    }

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            Int($0.drop { $0 == " " })
        }
        numbers = parts.compactMap(\.self)
        guard numbers.count == parts.count, Set(numbers).count == numbers.count else { return nil }
    }

    var defaultValueDescription: String { numbers.map(String.init).joined(separator: ",") }
}

/// Token ids, separated by commas or spaces.
///
/// - Throws: `ValidationError` with the first word that is none.
func tokenIDs(inList list: String) throws -> [Int] {
    try list.split { $0 == "," || $0.isWhitespace }.map { word in
        guard let id = Int(word) else { throw ValidationError("\"\(word)\" is not a token id.") }
        return id
    }
}
