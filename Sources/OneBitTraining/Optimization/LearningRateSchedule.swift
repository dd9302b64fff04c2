import Foundation

/// Linear warm-up, then a cosine down to zero (paper appendix: 500 warm-up steps).
public struct LearningRateSchedule: Sendable, Hashable, Codable {
    /// Steps over which the rate rises from zero.
    public var warmupSteps: Int
    /// Steps of the whole run; the rate reaches zero behind the last.
    public var totalSteps: Int

    public init(warmupSteps: Int, totalSteps: Int) {
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The share of the peak rate that `step`, counted from 1, is made with.
    ///
    /// Warm-up: step / warmup. After it: ½ (1 + cos(π (step − warmup) / (total − warmup + 1))).
    public func factor(at step: Int) -> Double {
        if step <= warmupSteps { return Double(step) / Double(warmupSteps) }
        let progress = Double(step - warmupSteps) / Double(max(1, totalSteps - warmupSteps + 1))
        return 0.5 * (1 + cos(.pi * min(1, progress)))
    }
}
