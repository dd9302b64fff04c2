import Foundation

/// How many threads are worth having: the physical cores that this process may use.
///
/// Two threads on one core share its vector units and its path to memory, which kernels fill with one.
enum PhysicalCores {
    /// At least 1.
    static let count: Int = max(1, min(cores(), quota() ?? .max))

    private static func cores() -> Int {
        #if os(Linux)
            let allowed = allowedProcessors()
            let topology = URL(filePath: "/sys/devices/system/cpu")
            var cores = Set<String>()
            for processor in allowed {
                let directory = topology.appending(path: "cpu\(processor)/topology")
                guard let core = firstLine(directory.appending(path: "core_id").path),
                    let package = firstLine(directory.appending(path: "physical_package_id").path)
                else { return max(allowed.count, 1) }
                cores.insert("\(package):\(core)")
            }
            return cores.count
        #else
            var count: Int32 = 0
            var size = MemoryLayout<Int32>.size
            // Apple silicon: the fast cores; others: all of them.
            for name in ["hw.perflevel0.physicalcpu", "hw.physicalcpu"]
            where sysctlbyname(name, &count, &size, nil, 0) == 0 && count > 0 {
                return Int(count)
            }
            return ProcessInfo.processInfo.activeProcessorCount
        #endif
    }

    #if os(Linux)
        /// Numbers of the processors that this process may run on: `Cpus_allowed_list` of /proc/self/status, "0-3,8".
        private static func allowedProcessors() -> [Int] {
            let all = Array(0..<ProcessInfo.processInfo.activeProcessorCount)
            let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
            guard let line = status.split(separator: "\n").first(where: { $0.hasPrefix("Cpus_allowed_list:") }),
                let list = line.split(whereSeparator: \.isWhitespace).dropFirst().first
            else { return all }
            var processors: [Int] = []
            for part in list.split(separator: ",") {
                let ends = part.split(separator: "-").compactMap { Int($0) }
                guard let first = ends.first, let last = ends.last, first <= last else { return all }
                processors += first...last
            }
            return processors
        }
    #endif

    /// Cores' worth of time that a container may use (cgroup v2's `cpu.max`, "QUOTA PERIOD" or "max PERIOD").
    private static func quota() -> Int? {
        guard let words = firstLine("/sys/fs/cgroup/cpu.max")?.split(separator: " "), words.count == 2,
            let quota = Double(words[0]), let period = Double(words[1]), period > 0
        else { return nil }
        return max(1, Int((quota / period).rounded(.up)))
    }

    private static func firstLine(_ path: String) -> String? {
        (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: "\n").first.map(String.init)
    }
}
