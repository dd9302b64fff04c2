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

        /// Sends `signal` to this process and waits until it has had time to act: the threads that tests run on block
        /// signals, so another one takes it.
        private static func send(_ signal: Int32) {
            let wasRequested = Interruption.isRequested
            kill(getpid(), signal)
            for _ in 0..<100 where wasRequested || !Interruption.isRequested { usleep(10_000) }
        }

        @Test("The first Ctrl-C is a request that stages see; a stage that stops for it exits with 130")
        func firstInterrupt() async {
            await #expect(processExitsWith: .exitCode(130)) {
                signal(SIGINT, SIG_DFL)
                Interruption.install()
                try Interruption.check()
                Self.send(SIGINT)
                do {
                    try Interruption.check()
                } catch {
                    ErrorReport.exit(after: error)
                }
            }
        }

        @Test("A second Ctrl-C kills at once")
        func secondInterrupt() async {
            await #expect(processExitsWith: .signal(SIGINT)) {
                signal(SIGINT, SIG_DFL)
                Interruption.install()
                Self.send(SIGINT)
                Self.send(SIGINT)
            }
        }

        @Test("kill (SIGTERM) is a request too, and exits with 143")
        func termination() async {
            await #expect(processExitsWith: .exitCode(143)) {
                signal(SIGTERM, SIG_DFL)
                Interruption.install()
                Self.send(SIGTERM)
                ErrorReport.exit(after: CancellationError())
            }
        }

        @Test("An interrupt that the parent process ignores stays ignored, as nohup wants it")
        func ignoredInterrupt() async {
            await #expect(processExitsWith: .exitCode(0)) {
                signal(SIGINT, SIG_IGN)
                Interruption.install()
                kill(getpid(), SIGINT)
                usleep(100_000)
                exit(Interruption.isRequested ? 1 : 0)
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
