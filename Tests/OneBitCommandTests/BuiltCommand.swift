import Foundation
import TestSupport

/// The command line as it was built, run as users run it.
struct BuiltCommand {
    struct Outcome {
        var exitCode: Int32
        var wasKilled: Bool
        var output: String
        var errors: String
    }

    /// `onebit` lies beside the test runner.
    private static let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appending(path: "onebit")

    /// Runs `onebit arguments` to its end.
    static func run(_ arguments: [String]) async throws -> Outcome {
        try await run(executable: executable, arguments)
    }

    /// Runs a line of shell in which `onebit` is the built command.
    static func shell(_ line: String) async throws -> Outcome {
        let call = "onebit() { '\(executable.path)' \"$@\"; }; \(line)"
        return try await run(executable: URL(filePath: "/bin/bash"), ["-c", call])
    }

    /// Starts `onebit arguments`, sends `signal` once `isUnderWay` says so (or after half a minute), and waits for the
    /// end, which it brings about after another half minute.
    static func interrupt(
        _ arguments: [String], signal: Int32 = SIGINT, once isUnderWay: () -> Bool
    ) async throws -> Outcome {
        // A test run in the background of a script ignores SIGINT and would hand that on.
        let call = ["--default-signal=INT", executable.path] + arguments
        return try await run(executable: URL(filePath: "/usr/bin/env"), call) { process, _ in
            try await wait { !process.isRunning || isUnderWay() }
            kill(process.processIdentifier, signal)
            try await wait { !process.isRunning }
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
    }

    /// Starts `onebit arguments`, lets `body` deal with it, and waits for the end, which it brings about after half a
    /// minute.
    static func converse(
        _ arguments: [String], standardInput: FileHandle = .nullDevice, _ body: (Running) async throws -> Void
    ) async throws -> Outcome {
        let call = ["--default-signal=INT", executable.path] + arguments
        return try await run(
            executable: URL(filePath: "/usr/bin/env"), call, standardInput: standardInput
        ) { process, folder in
            try await body(Running(process: process, folder: folder))
            try await wait { !process.isRunning }
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        }
    }

    /// A command that has been started.
    struct Running {
        let process: Process
        fileprivate let folder: URL

        /// What it has written so far.
        var output: String { text("output") }
        var errors: String { text("errors") }

        /// Waits until something holds, half a minute at most, or the command has ended.
        func wait(until condition: () -> Bool) async throws {
            try await BuiltCommand.wait { !process.isRunning || condition() }
        }

        /// Waits until the command catches SIGINT, which it does not while the system still loads it.
        func waitUntilInterruptible() async throws {
            let status = "/proc/\(process.processIdentifier)/status"
            try await wait {
                let lines = (try? String(contentsOfFile: status, encoding: .utf8))?.split(separator: "\n") ?? []
                let caught = lines.first { $0.hasPrefix("SigCgt:") }?.split(separator: "\t").last
                return caught.flatMap { UInt64($0, radix: 16) }.map { $0 & 1 << UInt64(SIGINT - 1) != 0 } ?? false
            }
        }

        private func text(_ name: String) -> String {
            String(decoding: (try? Data(contentsOf: folder.appending(path: name))) ?? Data(), as: UTF8.self)
        }
    }

    /// Waits until `condition` holds, half a minute at most.
    private static func wait(until condition: () -> Bool) async throws {
        for _ in 0..<1500 where !condition() { try await Task.sleep(for: .milliseconds(20)) }
    }

    private static func run(
        executable: URL,
        _ arguments: [String],
        standardInput: FileHandle = .nullDevice,
        afterStart: (Process, URL) async throws -> Void = { _, _ in }
    ) async throws -> Outcome {
        // Files and not pipes: nobody has to read along.
        let folder = try TemporaryDirectory()
        let streams = try ["output", "errors"].map { name in
            let url = try folder.write("", as: name)
            return (url, try FileHandle(forWritingTo: url))
        }
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.standardInput = standardInput
        process.standardOutput = streams[0].1
        process.standardError = streams[1].1
        try process.run()
        try await afterStart(process, folder.url)
        while process.isRunning { try await Task.sleep(for: .milliseconds(5)) }
        return Outcome(
            exitCode: process.terminationStatus,
            wasKilled: process.terminationReason == .uncaughtSignal,
            output: String(decoding: try Data(contentsOf: streams[0].0), as: UTF8.self),
            errors: String(decoding: try Data(contentsOf: streams[1].0), as: UTF8.self)
        )
    }

    /// A new folder, for the caller to remove.
    static func temporaryFolder() throws -> URL {
        let url = FileManager.default.temporaryDirectory.appending(path: "onebit-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        return url
    }
}

/// A terminal that a command reads from and a test types on.
final class Terminal {
    /// The command's end.
    let input: FileHandle
    private let keyboard: FileHandle

    // Of Linux's <asm/ioctls.h>; Glibc's module does not have them, nor posix_openpt().
    private static let unlock: UInt = 0x4004_5431
    private static let number: UInt = 0x8004_5430

    init() throws {
        let descriptor = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        keyboard = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var lock: Int32 = 0
        var index: Int32 = 0
        guard descriptor >= 0, ioctl(descriptor, Self.unlock, &lock) == 0, ioctl(descriptor, Self.number, &index) == 0
        else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .ENOTTY) }
        let other = open("/dev/pts/\(index)", O_RDWR | O_NOCTTY)
        guard other >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .ENOTTY) }
        input = FileHandle(fileDescriptor: other, closeOnDealloc: true)
    }

    func type(_ text: String) throws { try keyboard.write(contentsOf: Data(text.utf8)) }
}
