import Foundation

/// Why a training stage cannot go on.
public enum TrainingError: LocalizedError, Sendable, Hashable {
    case shapesDiffer(teacher: URL, student: URL)
    case corpusTooShort(tokens: Int, segment: Int)
    /// A file of which no token can be made.
    case emptyCorpus(file: URL)
    /// `line` is nil for a file that is one document.
    case malformedCorpus(file: URL, line: Int?, reason: String)
    case notFinite(step: Int, quantity: String)
    /// A directory without the metrics of a run.
    case noMetrics(directory: URL)
    case damagedTokenFile(file: URL, reason: String)
    /// The ranks of a process group do not have the same signs.
    case ranksDisagree(step: Int)
    /// The ranks of a process group do not see the same files there.
    case directoryNotShared(directory: URL)

    public var errorDescription: String? {
        switch self {
        case .shapesDiffer(let teacher, let student):
            "\(student.path): its shape or vocabulary is not that of the teacher \(teacher.path)."
        case .corpusTooShort(let tokens, let segment):
            "The corpus has \(tokens) tokens, fewer than the \(segment) of one sequence."
        case .emptyCorpus(let file): "\(file.path): it has no text."
        case .malformedCorpus(let file, let line, let reason):
            "\(file.path)\(line.map { ", line \($0)" } ?? ""): \(reason)."
        case .notFinite(let step, let quantity):
            "Step \(step): \(quantity) is not a finite number."
        case .noMetrics(let directory):
            "\(directory.path): no metrics of a training (metrics.jsonl), or none yet."
        case .damagedTokenFile(let file, let reason):
            "\(file.path): damaged file of tokens: \(reason)."
        case .ranksDisagree(let step):
            "Step \(step): the ranks do not have the same signs."
        case .directoryNotShared(let directory):
            "\(directory.path): the ranks see different training checkpoints there."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .shapesDiffer: "Make the start checkpoint from this teacher."
        case .corpusTooShort: "Take more text, or shorter sequences."
        case .emptyCorpus: "Leave it out."
        case .malformedCorpus: "Each line must be a JSON object with \"text\" or \"tokens\" of this model."
        case .notFinite: "Lower the learning rate, and check that the teacher predicts text."
        case .noMetrics: "Name the output of a distillation, compression or pretraining, or its work directory."
        case .damagedTokenFile: "Delete it: it is made again of the corpus."
        case .ranksDisagree:
            "Memory or network is at fault; resume from the last training checkpoint on other machines."
        case .directoryNotShared: "Take a directory that all machines share."
        }
    }
}
