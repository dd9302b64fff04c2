import ArgumentParser
import Foundation

/// Paths on the command line are file URLs: `@Argument var model: URL`.
///
/// Retroactive, which would be a risk in a library: two modules could both declare it. Nothing imports an executable.
// swift-format-ignore: AvoidRetroactiveConformances
extension URL: @retroactive ExpressibleByArgument {
    public init?(argument: String) {
        if argument.isEmpty { return nil }
        self.init(filePath: argument)
    }

    public var defaultValueDescription: String { relativePath }

    public static var defaultCompletionKind: CompletionKind { .file() }
}
