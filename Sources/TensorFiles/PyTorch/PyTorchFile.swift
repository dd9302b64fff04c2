import Foundation

/// A checkpoint that `torch.save` wrote from a model's `state_dict()`, memory-mapped: `pytorch_model.bin`.
///
/// The file is a zip archive: `data.pkl`, a pickle that describes the tensors, and their elements in entries `data/0`,
/// `data/1`, …, which are read where they are mapped. The pickle is read and never run, so a file from a stranger is no
/// more than data. Tensors may share a storage, as tied weights do. Views whose elements do not
/// lie one behind the other are refused, by name.
///
/// Source: `torch/serialization.py` of PyTorch 1.6 to 2.11.
public final class PyTorchFile: TensorFile {
    /// The tensors, and where they lie.
    public let contents: MappedTensors

    /// Maps a file, reads its description of the tensors and checks it against what is there.
    ///
    /// - Throws: ``PyTorchError`` or ``FileError``.
    public init(contentsOf url: URL) throws {
        let file = try MappedFile(path: url.path)
        // The pickle that PyTorch before 1.6 began a file with; a zip archive begins with "PK".
        if file.bytes.first == PickleOpcode.proto.rawValue { throw PyTorchError.legacyFormat(file: file.path) }
        let archive = try ZipArchive(file: file.path, bytes: file.bytes)
        // All entries lie in one folder: "archive", or the name that the file had.
        let pickles = archive.entries.filter { $0.key.split(separator: "/").dropFirst() == ["data.pkl"] }
        guard pickles.count == 1, let pickle = pickles.first else {
            throw PyTorchError.missingEntry(file: file.path, entry: "archive/data.pkl")
        }
        let folder = pickle.key.dropLast("data.pkl".count)
        if let range = archive.entries[folder + "byteorder"], file.bytes[range].elementsEqual("big".utf8) {
            throw PyTorchError.bigEndian(file: file.path)
        }
        var machine = try PickleMachine(
            file: file.path, bytes: UnsafeRawBufferPointer(rebasing: file.bytes[pickle.value]))
        let root = try machine.run()
        let tensors = StateDictionary(file: file.path, heap: machine.heap) { archive.entries[folder + $0] }
        contents = try tensors.contents(root, of: file)
    }
}
