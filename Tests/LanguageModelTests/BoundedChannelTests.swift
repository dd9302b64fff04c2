import Foundation
import Synchronization
import Testing

@testable import LanguageModel

@Suite struct BoundedChannelTests {
    private final class Round: Sendable {
        let number = Atomic(-1)
    }

    /// A send that resumes a reader while it keeps the channel's lock waits for the reader's task, whose cancellation waits for that lock:
    /// of 60,000 rounds one then stopped for ever in two runs of three.
    @Test("A reader that is cancelled just when something is sent to it keeps nobody waiting", .timeLimit(.minutes(10)))
    func cancelledReaders() async {
        let channels = (0..<15_000).map { _ in BoundedChannel<Int>() }
        let round = Round()
        await withTaskGroup(of: Void.self) { group in
            group.addTask(executorPreference: SerialTaskExecutor()) {
                for (number, channel) in channels.enumerated() {
                    while round.number.load(ordering: .acquiring) < number {}
                    channel.send(number)
                    channel.finish()
                }
            }
            for (number, channel) in channels.enumerated() {
                let reader = Task { try await channel.next() }
                for _ in 0..<4 { await Task.yield() }
                round.number.store(number, ordering: .releasing)
                for _ in 0..<number % 1024 { _ = round.number.load(ordering: .relaxed) }
                reader.cancel()
                // It ends, whether it read something or not.
                _ = await reader.result
            }
        }
    }
}
