import Foundation

/// What two models say of the same next token.
struct TokenComparison: Sendable, Hashable {
    /// KL(teacher ‖ student) = Σ_i p_i log(p_i / q_i) in nats.
    let divergence: Double
    /// Tokens that the student finds likelier than the teacher's likeliest one.
    let rank: Int
    /// −log p of the token that came, in nats.
    let teacherLoss: Double
    /// −log q of the token that came, in nats.
    let studentLoss: Double

    /// With logits a and b relative to the largest of their row, and Z the sums of their exponentials,
    ///
    ///     KL = Σ_i e^{a_i} / Z_a · (a_i − b_i) − log Z_a + log Z_b
    ///
    /// Exponentials in single precision, as the logits are, sums in double. Equal rows give exactly zero. Of equal logits the
    /// first counts as the largest.
    ///
    /// - Parameters:
    ///   - teacher: logits of one place, [vocabulary].
    ///   - student: the same of the student.
    ///   - target: the token that came.
    init(teacher: UnsafeBufferPointer<Float>, student: UnsafeBufferPointer<Float>, target: Int) {
        let (likeliest, teacherLargest) = Self.largest(of: teacher)
        let (_, studentLargest) = Self.largest(of: student)
        let rival = student[likeliest]
        var (teacherSum, studentSum, cross, rank) = (0.0, 0.0, 0.0, 0)
        for token in teacher.indices {
            let a = teacher[token] - teacherLargest
            let b = student[token] - studentLargest
            let weight = exp(a)
            teacherSum += Double(weight)
            studentSum += Double(exp(b))
            // A token that the teacher rules out adds nothing, whatever the student says of it.
            if weight > 0 { cross += Double(weight) * (Double(a) - Double(b)) }
            if student[token] > rival || (student[token] == rival && token < likeliest) { rank += 1 }
        }
        let (teacherLog, studentLog) = (log(teacherSum), log(studentSum))
        // Never below zero but for rounding.
        divergence = max(0, cross / teacherSum - teacherLog + studentLog)
        self.rank = rank
        teacherLoss = teacherLog - Double(teacher[target] - teacherLargest)
        studentLoss = studentLog - Double(student[target] - studentLargest)
    }

    private static func largest(of logits: UnsafeBufferPointer<Float>) -> (token: Int, value: Float) {
        var (token, largest) = (0, -Float.infinity)
        for (index, value) in logits.enumerated() where value > largest { (token, largest) = (index, value) }
        return (token, largest)
    }
}
