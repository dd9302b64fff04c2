/// Shape of a model, read from `config.json`.
public struct ModelConfiguration: Sendable {
    public var vocabularySize: Int
}
