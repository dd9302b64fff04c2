import Foundation

/// Memory that the system has left, checked before much is taken: a model that does not fit is refused, not killed.
package enum AvailableMemory {
    /// - Throws: ``LanguageModelError/notEnoughMemory(needed:available:purpose:)``
    package static func require(_ bytes: Int, for purpose: String) throws {
        guard let available = bytesAvailable, bytes > available else { return }
        throw LanguageModelError.notEnoughMemory(needed: bytes, available: available, purpose: purpose)
    }

    /// Bytes that can be had without swapping, caches that can be dropped included; nil where it is unknown.
    package static var bytesAvailable: Int? {
        #if os(Linux)
            [machine(), container()].compactMap { $0 }.min()
        #else
            Int(clamping: ProcessInfo.processInfo.physicalMemory)
        #endif
    }

    /// `MemAvailable` of /proc/meminfo.
    private static func machine() -> Int? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8) else { return nil }
        return value(of: "MemAvailable:", in: text).map { $0 * 1024 }
    }

    /// What a container's limit leaves (cgroup v2), counting file pages that can be dropped as free.
    private static func container() -> Int? {
        let directory = "/sys/fs/cgroup/"
        guard let limit = number(directory + "memory.max"), let used = number(directory + "memory.current") else {
            return nil
        }
        let statistics = (try? String(contentsOfFile: directory + "memory.stat", encoding: .utf8)) ?? ""
        return max(0, limit - used + (value(of: "file", in: statistics) ?? 0))
    }

    private static func number(_ path: String) -> Int? {
        (try? String(contentsOfFile: path, encoding: .utf8)).flatMap {
            Int($0.trimmingCharacters(in: .whitespacesAndNewlines))
        }
    }

    /// The number on the line that begins with a word.
    private static func value(of word: String, in text: String) -> Int? {
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if words.count >= 2, words[0] == word { return Int(words[1]) }
        }
        return nil
    }
}
