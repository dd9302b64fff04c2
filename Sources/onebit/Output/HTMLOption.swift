import ArgumentParser
import Foundation
import HTMLReports
import JSON
import TensorFiles

/// A report for a browser beside what a command prints.
struct HTMLOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "File for a report with plots: one page of HTML, which needs no other file.", valueName: "file"))
    var html: URL?

    /// Before a long computation, whose report would have no place.
    ///
    /// - Throws: `FileError.destinationExists(path:)`
    func check(overwrite: Bool) throws {
        if let html { try checkDestination(html, overwrite: overwrite) }
    }

    func write(_ page: @autoclosure () throws -> ReportPage) throws {
        if let html { try writeAtomically(Data(try page().html.utf8), to: html) }
    }
}

/// Refuses to replace a file, unless that is asked for.
///
/// - Throws: `FileError.destinationExists(path:)`
func checkDestination(_ file: URL, overwrite: Bool) throws {
    if !overwrite, FileManager.default.fileExists(atPath: file.path) {
        throw FileError.destinationExists(path: file.path)
    }
}
