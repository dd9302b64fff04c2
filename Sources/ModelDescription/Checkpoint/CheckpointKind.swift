/// What a checkpoint's linear layers are stored as.
public enum CheckpointKind: String, Sendable, Hashable, CaseIterable {
    /// One float weight each: an ordinary model, a teacher.
    case dense
    /// A float latent weight and two value vectors: a student in training.
    case floatStudent
    /// Sign bits and two value vectors: what is run.
    case packed

    /// What people call it.
    public var title: String {
        switch self {
        case .dense: "dense"
        case .floatStudent: "float student"
        case .packed: "packed"
        }
    }

    var article: String {
        switch self {
        case .dense: "a dense checkpoint"
        case .floatStudent: "a float student (checkpoint_format \"onebit-float-v1\")"
        case .packed: "a packed checkpoint (checkpoint_format \"onebit-lsb-v1\")"
        }
    }
}

extension ModelConfiguration {
    /// The kind of checkpoint that this configuration belongs to.
    public var kind: CheckpointKind {
        switch quantization?.checkpointFormat {
        case nil: .dense
        case .float: .floatStudent
        case .packed: .packed
        }
    }
}
