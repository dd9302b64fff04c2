// Tests of how a process ends need Swift Testing's exit tests, which came with Swift 6.2.
#if compiler(>=6.2)
    import Foundation
    import Testing

    @testable import onebit

    @Suite("How the process ends")
    struct ProcessEndTests {
        private enum Failure: LocalizedError {
            case lost
            var errorDescription: String? { "model.safetensors: lost" }
        }

        /// Runs a command and ends the process with what it throws, as `main` does.
        private static func run(_ command: @escaping @Sendable () async throws -> Void) async {
            do { try await Interruption.run(command) } catch { ErrorReport.exit(after: error) }
        }

        /// Sends `signal` to this process and waits until the calling task is cancelled.
        private static func sendAndWait(_ signal: Int32) throws {
            kill(getpid(), signal)
            for _ in 0..<200 where !Task.isCancelled { usleep(10_000) }
        }

        @Test("The first Ctrl-C cancels the command's task, which exits with 130")
        func firstInterrupt() async {
            await #expect(processExitsWith: .exitCode(130)) {
                signal(SIGINT, SIG_DFL)
                await Self.run {
                    try Task.checkCancellation()
                    try Self.sendAndWait(SIGINT)
                    try Task.checkCancellation()
                }
            }
        }

        @Test("A second Ctrl-C kills at once")
        func secondInterrupt() async {
            await #expect(processExitsWith: .signal(SIGINT)) {
                signal(SIGINT, SIG_DFL)
                await Self.run {
                    try Self.sendAndWait(SIGINT)
                    kill(getpid(), SIGINT)
                    usleep(1_000_000)
                }
            }
        }

        @Test("kill (SIGTERM) cancels too, and exits with 143")
        func termination() async {
            await #expect(processExitsWith: .exitCode(143)) {
                signal(SIGTERM, SIG_DFL)
                await Self.run {
                    try Self.sendAndWait(SIGTERM)
                    try Task.checkCancellation()
                }
            }
        }

        @Test("Ctrl-C ends an interruptible part, the command goes on, and the next Ctrl-C is a first one again")
        func interruptiblePart() async {
            await #expect(processExitsWith: .exitCode(130)) {
                signal(SIGINT, SIG_DFL)
                await Self.run {
                    for _ in 1...2 {
                        let wasCancelled = try await Interruption.interruptible {
                            try Self.sendAndWait(SIGINT)
                            return Task.isCancelled
                        }
                        if !wasCancelled || Task.isCancelled { exit(1) }
                    }
                    try Self.sendAndWait(SIGINT)
                    try Task.checkCancellation()
                }
            }
        }

        @Test("kill during an interruptible part cancels the command and the part")
        func terminationOfPart() async {
            await #expect(processExitsWith: .exitCode(143)) {
                signal(SIGTERM, SIG_DFL)
                await Self.run {
                    try await Interruption.interruptible {
                        try Self.sendAndWait(SIGTERM)
                        if !Task.isCancelled { exit(1) }
                    }
                    try Task.checkCancellation()
                }
            }
        }

        @Test("An interrupt that the parent process ignores stays ignored, as nohup wants it")
        func ignoredInterrupt() async {
            await #expect(processExitsWith: .exitCode(0)) {
                signal(SIGINT, SIG_IGN)
                await Self.run {
                    kill(getpid(), SIGINT)
                    usleep(100_000)
                    try Task.checkCancellation()
                }
            }
        }

        @Test("A reader that has gone ends the process quietly, as SIGPIPE would")
        func closedReader() async throws {
            let result = try await #require(
                processExitsWith: .exitCode(141),
                observing: [\.standardErrorContent]
            ) {
                StandardStreams.prepare()
                var ends: [Int32] = [0, 0]
                pipe(&ends)
                dup2(ends[1], STDOUT_FILENO)
                close(ends[0])
                do {
                    try StandardStreams.writeLine("a story")
                } catch {
                    ErrorReport.exit(after: error)
                }
            }
            #expect(!String(decoding: result.standardErrorContent, as: UTF8.self).contains("error"))
        }

        @Test("A full disk under standard output is an error")
        func fullDisk() async throws {
            let result = try await #require(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
                StandardStreams.prepare()
                dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO)
                do {
                    try StandardStreams.writeLine("a story")
                } catch {
                    ErrorReport.exit(after: error)
                }
            }
            let text = String(decoding: result.standardErrorContent, as: UTF8.self)
            #expect(text == "error: standard output cannot be written: No space left on device\n")
        }

        @Test("Any other error exits with 1 after one line on standard error")
        func failure() async throws {
            let result = try await #require(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
                ErrorReport.exit(after: Failure.lost)
            }
            #expect(String(decoding: result.standardErrorContent, as: UTF8.self) == "error: model.safetensors: lost\n")
        }
    }
#endif
