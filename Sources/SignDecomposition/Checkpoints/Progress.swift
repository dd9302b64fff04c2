/// Called after each tensor with the work done and the whole, both in weights.
public typealias ProgressCallback = (_ completed: Int, _ total: Int) throws -> Void
