import Foundation
import LanguageModel
import Synchronization

/// What a server counts, as Prometheus reads it (text exposition format 0.0.4).
final class Metrics: Sendable {
    private struct Histogram {
        /// Upper bounds, in seconds.
        static let bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]

        var counts = [Int](repeating: 0, count: bounds.count)
        var count = 0
        var sum = 0.0

        mutating func observe(_ seconds: Double) {
            count += 1
            sum += seconds
            for (index, bound) in Self.bounds.enumerated() where seconds <= bound { counts[index] += 1 }
        }

        func lines(_ name: String, _ help: String) -> [String] {
            ["# HELP \(name) \(help)", "# TYPE \(name) histogram"]
                + zip(Self.bounds, counts).map { "\(name)_bucket{le=\"\($0)\"} \($1)" }
                + ["\(name)_bucket{le=\"+Inf\"} \(count)", "\(name)_sum \(sum)", "\(name)_count \(count)"]
        }
    }

    private struct Route: Hashable, Comparable {
        let path: String
        let status: Int

        static func < (one: Route, other: Route) -> Bool { (one.path, one.status) < (other.path, other.status) }
    }

    private struct State {
        var requests: [Route: Int] = [:]
        var promptTokens = 0
        var completionTokens = 0
        var cancelled = 0
        var firstToken = Histogram()
        var perToken = Histogram()
    }

    private let state = Mutex(State())

    func count(_ path: String, status: Int) {
        // Addresses that anybody can make up are one.
        let route = Route(path: OpenAPI.path(of: path) ?? "other", status: status)
        state.withLock { $0.requests[route, default: 0] += 1 }
    }

    func countCancellation() { state.withLock { $0.cancelled += 1 } }

    func observe(firstToken: Duration) { state.withLock { $0.firstToken.observe(firstToken / .seconds(1)) } }

    func observe(_ info: GenerateCompletionInfo) {
        state.withLock { state in
            state.promptTokens += info.promptTokenCount
            state.completionTokens += info.tokens.count
            if info.stepCount > 0 {
                state.perToken.observe(info.generateTime / .seconds(1) / Double(info.stepCount))
            }
        }
    }

    func text(_ engine: GenerationStatistics, queued: Int) -> String {
        let state = state.withLock { $0 }
        var lines = [
            "# HELP onebit_requests_total Requests by route and status.", "# TYPE onebit_requests_total counter",
        ]
        lines += state.requests.sorted { $0.key < $1.key }.map {
            "onebit_requests_total{route=\"\($0.path)\",status=\"\($0.status)\"} \($1)"
        }
        func add(_ name: String, _ kind: String, _ help: String, _ value: Int) {
            lines += ["# HELP \(name) \(help)", "# TYPE \(name) \(kind)", "\(name) \(value)"]
        }
        add("onebit_texts_in_flight", "gauge", "Texts asked for and not yet ended.", queued)
        add("onebit_texts_running", "gauge", "Texts under way.", engine.running)
        add("onebit_texts_waiting", "gauge", "Texts that wait for a place.", engine.waiting)
        add("onebit_sequences_kept", "gauge", "Sequences kept for prompts that begin alike.", engine.kept)
        add("onebit_cache_bytes", "gauge", "Bytes reserved for keys and values.", engine.cacheBytes)
        add("onebit_passes_total", "counter", "Forward passes.", engine.passes)
        add("onebit_rows_total", "counter", "Tokens computed, of prompts and texts.", engine.rows)
        add("onebit_generated_tokens_total", "counter", "Tokens chosen.", engine.generatedTokens)
        add("onebit_cached_tokens_total", "counter", "Tokens of prompts that were not read again.", engine.cachedTokens)
        add("onebit_prompt_tokens_total", "counter", "Tokens of prompts read for ended texts.", state.promptTokens)
        add("onebit_completion_tokens_total", "counter", "Tokens of ended texts.", state.completionTokens)
        add("onebit_cancelled_total", "counter", "Requests whose clients left.", state.cancelled)
        lines += state.firstToken.lines("onebit_time_to_first_token_seconds", "Time from a request to its first token.")
        lines += state.perToken.lines("onebit_time_per_token_seconds", "Mean time of a token, by text.")
        return lines.joined(separator: "\n") + "\n"
    }
}
