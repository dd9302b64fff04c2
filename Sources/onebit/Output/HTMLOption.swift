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
    /// - Throws: `FileError`
    func check(overwrite: Bool) throws {
        if let html { try checkDestination(html, overwrite: overwrite) }
    }

    func write(_ page: @autoclosure () throws -> ReportPage) throws {
        if let html { try writeAtomically(Data(try page().html.utf8), to: html) }
    }
}

/// Refuses a file that cannot be written, and one that would be replaced though that is not asked for: before the work whose
/// result it is to hold.
///
/// - Throws: `FileError`
func checkDestination(_ file: URL, overwrite: Bool) throws {
    func exists(_ url: URL) -> (any: Bool, directory: Bool) {
        var isDirectory: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: url.path, isDirectory: &isDirectory)
        return (exists, isDirectory.boolValue)
    }
    let found = exists(file)
    if found.directory { throw FileError.notARegularFile(file: file.path) }
    if found.any, !overwrite { throw FileError.destinationExists(path: file.path) }
    let directory = file.deletingLastPathComponent()
    if !exists(directory).directory {
        throw FileError.cannotWrite(file: file.path, neededBytes: nil, reason: "its directory does not exist")
    }
    if access(directory.path, W_OK) != 0 {
        throw FileError.cannotWrite(file: file.path, neededBytes: nil, reason: String(cString: strerror(errno)))
    }
}
