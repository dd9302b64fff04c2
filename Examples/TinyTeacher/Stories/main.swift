// Writes simple little stories in English, one JSON line {"text": …} each, to standard output.
//
//     swiftc -O Examples/TinyTeacher/Stories/*.swift -o stories
//     ./stories --count 20000 --seed 1 > train.jsonl
//
// The tiny teacher learns to write from them. A story depends on the seed and its own number alone, so the same
// arguments give the same bytes on every machine, and a longer run begins with the stories of a shorter one.

import Foundation

/// What the command line asks for.
struct Arguments {
    var count = 10
    var seed: UInt64 = 0

    static let usage = """
        usage: stories [--count N] [--seed S]
          --count N   how many stories to write (default 10)
          --seed S    number that the stories are drawn from (default 0)
        """

    /// Reads the arguments after the program's name; nil when they make no sense.
    init?(_ words: some Sequence<String>) {
        var words = words.makeIterator()
        while let name = words.next() {
            switch (name, words.next()) {
            case ("--count", let value?):
                guard let count = Int(value), count >= 0 else { return nil }
                self.count = count
            case ("--seed", let value?):
                guard let seed = UInt64(value) else { return nil }
                self.seed = seed
            default:
                return nil
            }
        }
    }
}

/// The text as a JSON string. The stories hold nothing that needs an escape but quotation marks.
func quoted(_ text: String) -> String {
    "\"" + text.replacingOccurrences(of: "\"", with: "\\\"") + "\""
}

guard let arguments = Arguments(CommandLine.arguments.dropFirst()) else {
    FileHandle.standardError.write(Data((Arguments.usage + "\n").utf8))
    exit(2)
}
for number in 0..<arguments.count {
    var storyteller = Storyteller(seed: arguments.seed, story: number)
    print("{\"text\": \(quoted(storyteller.tell()))}")
}
