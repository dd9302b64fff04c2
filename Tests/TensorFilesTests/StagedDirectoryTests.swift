import Foundation
import JSON
import TensorFiles
import TestSupport
import Testing

struct StagedDirectoryTests {
    let parent: TemporaryDirectory
    let destination: URL

    init() throws {
        parent = try TemporaryDirectory()
        destination = parent.url.appending(path: "student")
    }

    private func text(_ name: String) -> String? {
        try? String(contentsOf: destination.appending(path: name), encoding: .utf8)
    }

    @Test("A directory appears under its name only when it is committed")
    func commit() throws {
        let staged = try StagedDirectory(destination: destination, overwrite: false)
        try Data("new".utf8).write(to: staged.url.appending(path: "a"))
        #expect(!FileManager.default.fileExists(atPath: destination.path))
        try staged.commit()
        #expect(try parent.entries == ["student"])
        #expect(text("a") == "new")
    }

    @Test("An output that is there is refused and untouched without overwrite, replaced whole with it")
    func overwrite() throws {
        try FileManager.default.createDirectory(at: destination, withIntermediateDirectories: true)
        try Data("old".utf8).write(to: destination.appending(path: "a"))
        #expect(throws: FileError.destinationExists(path: destination.path)) {
            try StagedDirectory(destination: destination, overwrite: false)
        }
        #expect(text("a") == "old")
        let staged = try StagedDirectory(destination: destination, overwrite: true)
        try Data("new".utf8).write(to: staged.url.appending(path: "b"))
        #expect(text("a") == "old")
        try staged.commit()
        #expect(text("a") == nil)
        #expect(text("b") == "new")
        #expect(try parent.entries == ["student"])
    }

    @Test("A file or a link in the destination's place is never replaced by a directory, nor is what a link points to")
    func notADirectory() throws {
        let target = try TemporaryDirectory()
        try target.write("kept", as: "a")
        for isLink in [false, true] {
            if isLink {
                try FileManager.default.createSymbolicLink(at: destination, withDestinationURL: target.url)
            } else {
                try Data("kept".utf8).write(to: destination)
            }
            let found = isLink ? "a symbolic link" : "a file"
            #expect(throws: FileError.destinationNotADirectory(path: destination.path, found: found)) {
                try StagedDirectory(destination: destination, overwrite: true)
            }
            #expect(try parent.entries == ["student"])
            #expect(try String(contentsOf: isLink ? target.file("a") : destination, encoding: .utf8) == "kept")
            try FileManager.default.removeItem(at: destination)
        }
        let staged = try StagedDirectory(destination: destination, overwrite: true)
        try Data("kept".utf8).write(to: destination)
        #expect(throws: FileError.destinationNotADirectory(path: destination.path, found: "a file")) {
            try staged.commit()
        }
        #expect(try String(contentsOf: destination, encoding: .utf8) == "kept")
        staged.discard()
    }

    @Test("A write that fails says how many bytes it was of, or nothing where that is not the matter")
    func failedWrite() {
        let missing = parent.file("missing/file")
        let error = #expect(throws: FileError.self) { try writeAtomically(Data([1, 2, 3]), to: missing) }
        #expect(error?.localizedDescription.contains("(3 bytes)") == true)
        try? Data().write(to: destination)
        let found = #expect(throws: FileError.self) {
            try StagedDirectory(destination: destination.appending(path: "student"), overwrite: false)
        }
        #expect(found?.localizedDescription.contains("bytes") == false)
    }

    @Test("A stage that fails leaves what was there, and nothing of its own")
    func failure() throws {
        struct Failure: Error {}
        try FileManager.default.createDirectory(at: destination, withIntermediateDirectories: true)
        try Data("old".utf8).write(to: destination.appending(path: "a"))
        #expect(throws: Failure.self) {
            try StagedDirectory.write(to: destination, overwrite: true) { url in
                try Data("half".utf8).write(to: url.appending(path: "a"))
                throw Failure()
            }
        }
        #expect(text("a") == "old")
        #expect(try parent.entries == ["student"])
    }

    @Test("A destination that appears while the stage runs is not overwritten")
    func race() throws {
        let staged = try StagedDirectory(destination: destination, overwrite: false)
        try FileManager.default.createDirectory(at: destination, withIntermediateDirectories: true)
        #expect(throws: FileError.self) { try staged.commit() }
        staged.discard()
        #expect(try parent.entries == ["student"])
    }

    @Test("What a killed process left is hidden, never looks finished, and goes with the next run")
    func killed() throws {
        // A child that stages and dies as by kill -9: its directory stays behind under the temporary name.
        let staged = try StagedDirectory(destination: destination, overwrite: false)
        let child = Process()
        child.executableURL = URL(filePath: "/bin/true")
        try child.run()
        child.waitUntilExit()
        let name = staged.url.lastPathComponent
        let left = name.replacingOccurrences(of: "-\(getpid())-", with: "-\(child.processIdentifier)-")
        try FileManager.default.moveItem(at: staged.url, to: parent.url.appending(path: left))
        #expect(left.hasPrefix("."))
        #expect(!FileManager.default.fileExists(atPath: destination.path))
        let again = try StagedDirectory(destination: destination, overwrite: false)
        #expect(try parent.entries == [again.url.lastPathComponent])
        again.discard()
    }

    @Test("A file is replaced at once, and a failure leaves the old one and no temporary")
    func atomicFile() throws {
        let file = parent.url.appending(path: "f")
        try writeAtomically(Data("1".utf8), to: file)
        try writeAtomically(Data("2".utf8), to: file)
        #expect(try String(contentsOf: file, encoding: .utf8) == "2")
        let directory = parent.url.appending(path: "d")
        try FileManager.default.createDirectory(at: directory.appending(path: "x"), withIntermediateDirectories: true)
        #expect(throws: FileError.self) { try writeAtomically(Data("3".utf8), to: directory) }
        #expect(throws: FileError.self) {
            try writeAtomically(Data(), to: parent.url.appending(path: "missing/file"))
        }
        #expect(try parent.entries == ["d", "f"])
    }
}
