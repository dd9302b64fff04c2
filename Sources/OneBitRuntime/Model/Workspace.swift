import CSignKernels
import ModelDescription

/// The activations of one forward pass.
final class Workspace {
    /// Most rows of a pass.
    let rows: Int
    let hiddenSize: Int
    /// The residual stream: [rows, hiddenSize]
    let hidden: Buffer<Float>
    /// What enters attention and MLP: [rows, hiddenSize]
    let normed: Buffer<Float>
    /// What they add: [rows, hiddenSize]
    let change: Buffer<Float>
    /// [rows, heads · headSize]
    let queries: Buffer<Float>
    /// [rows, keyValueHeads · headSize]
    let keys: Buffer<Float>
    let values: Buffer<Float>
    /// [rows, heads · headSize]
    let attended: Buffer<Float>
    /// Of the MLP, after its activation: [rows, intermediateSize]
    let activated: Buffer<Float>
    /// What the gate multiplies: [rows, intermediateSize]
    let raised: Buffer<Float>
    /// Room for rows as wide as the embedding and as the residual stream, whichever is wider.
    let embedded: Buffer<Float>
    let embeddedWidth: Int
    /// Of the rows' positions: [rows, headSize / 2]
    let cosines: Buffer<Float>
    let sines: Buffer<Float>
    let scratch: SignProductScratch

    /// Room of one member for attention: query and weights of each of the kernel's rows.
    private let attentionRoomSize: Int
    private let attentionRooms: Buffer<Float>

    /// - Parameters:
    ///   - rows: most rows of a pass.
    ///   - positions: most positions of a sequence.
    /// - Throws: ``RuntimeError/outOfMemory(bytes:)``
    init(configuration: ModelConfiguration, rows: Int, positions: Int, execution: Execution) throws {
        let threads = execution.team.threadCount
        self.rows = rows
        hiddenSize = configuration.hiddenSize
        let queryWidth = configuration.attentionHeadCount * configuration.headSize
        let keyValueWidth = configuration.keyValueHeadCount * configuration.headSize
        hidden = try Buffer(count: rows * hiddenSize)
        normed = try Buffer(count: rows * hiddenSize)
        change = try Buffer(count: rows * hiddenSize)
        queries = try Buffer(count: rows * queryWidth)
        keys = try Buffer(count: rows * keyValueWidth)
        values = try Buffer(count: rows * keyValueWidth)
        attended = try Buffer(count: rows * queryWidth)
        activated = try Buffer(count: rows * configuration.intermediateSize)
        raised = try Buffer(count: rows * configuration.intermediateSize)
        embeddedWidth = max(hiddenSize, configuration.embeddingSize)
        embedded = try Buffer(count: rows * embeddedWidth)
        cosines = try Buffer(count: rows * configuration.headSize / 2)
        sines = try Buffer(count: rows * configuration.headSize / 2)
        scratch = try SignProductScratch(
            tokens: rows, widest: max(hiddenSize, queryWidth, configuration.intermediateSize), threads: threads,
            execution: execution)
        attentionRoomSize = Int(SIGN_KERNELS_ATTENTION_ROWS) * (positions + rows + configuration.headSize + 15)
        attentionRooms = try Buffer(count: threads * attentionRoomSize)
    }

    func attentionRoom(member: Int) -> UnsafeMutablePointer<Float> {
        attentionRooms.pointer + member * attentionRoomSize
    }
}
