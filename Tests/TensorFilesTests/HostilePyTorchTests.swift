import Foundation
import TensorFiles
import TestSupport
import Testing

/// Files that a stranger wrote to hurt: each must give its own error, and nothing in it may run.
struct HostilePyTorchTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func error(_ data: Data) throws -> PyTorchError? {
        let url = try directory.write(data, as: "hostile.bin")
        return #expect(throws: PyTorchError.self) { try PyTorchFile(contentsOf: url) }
    }

    private func error(pickle: [UInt8]) throws -> PyTorchError? { try error(PyTorchArchive(pickle: pickle).data) }

    private func error(tensor: [UInt8]) throws -> PyTorchError? {
        try error(pickle: Pickle.stateDictionary(tensor))
    }

    private func error(_ edit: (inout PyTorchArchive) -> Void) throws -> PyTorchError? {
        var archive = PyTorchArchive()
        edit(&archive)
        return try error(archive.data)
    }

    private func error(reference name: String) -> PyTorchError? {
        #expect(throws: PyTorchError.self) { try PyTorchFile(contentsOf: PyTorchReference.url(name)) }
    }

    // MARK: - Code

    @Test(
        "A function or class that no checkpoint needs is refused by name, and nothing runs",
        arguments: [
            ("attack-system.bin", "posix.system"), ("attack-eval.bin", "builtins.eval"),
            ("module.bin", "torch.nn.modules.linear.Linear"), ("uint16.bin", "torch._utils._rebuild_tensor_v3"),
        ]
    )
    func forbidden(name: String, global: String) {
        guard case .forbiddenGlobal(_, global)? = error(reference: name) else { return fail("another error") }
        #expect(!FileManager.default.fileExists(atPath: "/tmp/onebit-was-attacked"))
    }

    @Test(
        "Names that resemble an allowed one are none",
        arguments: [
            ("torch", "load"), ("torch.FloatStorage", ""), ("torch", "FloatStorage.from_file"), ("", "FloatStorage"),
            ("collections", "OrderedDict.fromkeys"), ("torch._utils", "_rebuild_tensor_v2 "),
            ("collections\0", "OrderedDict"),
            ("torch", "floatstorage"),
        ]
    )
    func similarNames(module: String, name: String) throws {
        guard case .forbiddenGlobal? = try error(pickle: Pickle.global(module, name) + Pickle.end) else {
            return fail("another error")
        }
    }

    @Test("Instructions that make objects of classes, or work on bytes, are refused by number")
    func instructions() throws {
        // Every byte that is no instruction of a state dictionary.
        let known: Set<UInt8> = [
            0x80, 0x95, 0x2E, 0x4E, 0x88, 0x89, 0x4A, 0x4B, 0x4D, 0x8A, 0x47, 0x58, 0x8C, 0x8D, 0x28, 0x29, 0x85, 0x86,
            0x87, 0x74, 0x5D, 0x61, 0x65, 0x7D, 0x73, 0x75, 0x71, 0x72, 0x94, 0x68, 0x6A, 0x63, 0x93, 0x52, 0x62, 0x51,
        ]
        for opcode in UInt8.min ... .max where !known.contains(opcode) {
            guard case .unsupportedInstruction(_, 2, opcode)? = try error(pickle: [0x80, 2, opcode, 0, 0]) else {
                return fail("another error for \(opcode)")
            }
        }
    }

    @Test(
        "Calls of anything but the functions allowed, or of those with other arguments, are refused",
        arguments: [
            Pickle.text("os.system") + Pickle.tuple(Pickle.text("x")) + [0x52],
            Pickle.global("torch", "FloatStorage") + Pickle.tuple(Pickle.integer(1 << 40)) + [0x52],
            Pickle.global("collections", "OrderedDict") + [0x52],
            Pickle.global("collections", "OrderedDict") + [0x4E, 0x52],
            Pickle.global("collections", "OrderedDict") + Pickle.tuple([0x5D]) + [0x52],
            Pickle.global("torch._utils", "_rebuild_parameter") + [0x29, 0x52],
            Pickle.global("torch._utils", "_rebuild_parameter") + Pickle.tuple([0x4E]) + [0x52],
            Pickle.global("torch._utils", "_rebuild_tensor_v2") + [0x29, 0x52],
            Pickle.global("torch._utils", "_rebuild_tensor_v2")
                + Pickle.tuple([0x4E], [0x4E], [0x4E], [0x4E], [0x4E], [0x4E]) + [0x52],
            Pickle.tensor(metadata: Pickle.dictionary(Pickle.text("neg"), [0x88])),
            Pickle.tensor(metadata: [0x4E]),
            Pickle.tensor(shape: [1, 1, 1, 1, 1, 1, 1, 1, 2], strides: [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ]
    )
    func calls(call: [UInt8]) throws {
        guard case .malformedPickle? = try error(pickle: call + Pickle.end) else { return fail("another error") }
    }

    @Test(
        "Ids of anything but a storage are refused",
        arguments: [
            [0x4E], Pickle.text("storage"), Pickle.tuple(Pickle.text("storage")),
            Pickle.tuple(
                Pickle.text("module"), Pickle.global("torch", "FloatStorage"), Pickle.text("0"), Pickle.text("cpu"),
                Pickle.integer(2)),
            Pickle.tuple(
                Pickle.text("storage"), Pickle.text("FloatStorage"), Pickle.text("0"), Pickle.text("cpu"),
                Pickle.integer(2)),
            Pickle.tuple(
                Pickle.text("storage"), Pickle.global("torch", "FloatStorage"), Pickle.integer(0), Pickle.text("cpu"),
                Pickle.integer(2)),
            Pickle.tuple(
                Pickle.text("storage"), Pickle.global("torch", "FloatStorage"), Pickle.text("0"), Pickle.text("cpu"),
                Pickle.integer(-2)),
        ] as [[UInt8]]
    )
    func ids(id: [UInt8]) throws {
        guard case .malformedPickle? = try error(pickle: id + [0x51] + Pickle.end) else { return fail("another error") }
    }

    // MARK: - Pickle

    @Test(
        "A pickle that contradicts itself is refused",
        arguments: [
            [], [0x80], [0x80, 6], [0x2E], [0x4B], [0x4E, 0x4E, 0x86], [0x74], [0x28, 0x2E], [0x4E, 0x28, 0x2E],
            [0x4E, 0x28, 0x71, 0], [0x68, 0], [0x6A, 0, 0, 0, 0], [0x94], [0x4E, 0x61], [0x4E, 0x4E, 0x61, 0x2E],
            [0x28, 0x65], [0x4E, 0x28, 0x65], [0x4E, 0x4E, 0x4E, 0x73, 0x2E], [0x7D, 0x28, 0x4E, 0x75], [0x63, 0x61],
            [0x63, 0x61, 0x0A, 0x62], [0x4E, 0x4E, 0x93], [0x4E, 0x4E, 0x52], [0x4E, 0x4E, 0x62, 0x2E],
            [0x58, 255, 255, 255, 255, 0], [0x8C, 4, 0x61], [0x58, 2, 0, 0, 0, 0xC3, 0x28],
            [0x8D, 255, 255, 255, 255, 255, 255, 255, 255], [0x8D, 255, 255, 255, 255, 255, 255, 255, 127],
            [0x8A, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x2E], [0x8A, 255], [0x95, 0], [0x47, 0, 0], [0x4E],
        ] as [[UInt8]]
    )
    func contradictions(pickle: [UInt8]) throws {
        let found = try error(pickle: pickle)
        switch found {
        case .malformedPickle?, .notAStateDictionary?: break
        default: fail("\(String(describing: found))")
        }
    }

    @Test("Containers nested a hundred thousand deep, or in a circle, do no harm")
    func nesting() throws {
        let deep: [UInt8] = [0x4E] + [UInt8](repeating: 0x85, count: 100_000) + Pickle.end
        guard case .notAStateDictionary? = try error(pickle: deep) else { return fail("deep") }
        let circle: [UInt8] = [0x5D, 0x71, 0, 0x68, 0, 0x61] + Pickle.end
        guard case .notAStateDictionary? = try error(pickle: circle) else { return fail("circle") }
        // The dictionary holds itself.
        let own: [UInt8] = [0x7D, 0x71, 0] + Pickle.text("weight") + [0x68, 0, 0x73] + Pickle.end
        guard case .notATensor(_, "weight", _)? = try error(pickle: own) else { return fail("own") }
    }

    @Test("Each of a doubling chain of tuples stays as small as it is written")
    func doubling() throws {
        // A tuple of two of the tuple before, two hundred times.
        let step: [UInt8] = [0x71, 0, 0x68, 0, 0x86]
        let pickle = [0x29] + (0..<200).flatMap { _ in step } + Pickle.end
        guard case .notAStateDictionary? = try error(pickle: pickle) else { return fail("another error") }
    }

    @Test("Objects, values and marks are counted", arguments: [0x5D, 0x4E, 0x28] as [UInt8])
    func objects(opcode: UInt8) throws {
        let pickle = [UInt8](repeating: opcode, count: (1 << 18) + 10)
        guard case .tooManyObjects? = try error(pickle: pickle) else { return fail("another error") }
    }

    @Test("A pickle too large for any checkpoint is refused before it is read")
    func hugePickle() throws {
        let pickle = [UInt8](repeating: 0x4E, count: (8 << 20) + 1)
        guard case .tooLarge(_, "data.pkl", _, _)? = try error(pickle: pickle) else { return fail("another error") }
    }

    // MARK: - Tensors

    @Test("What is not a dictionary of tensors by name is refused")
    func notTensors() throws {
        guard case .notAStateDictionary? = try error(pickle: [0x4E] + Pickle.end) else { return fail("None") }
        guard case .notAStateDictionary? = try error(pickle: Pickle.tensor() + Pickle.end) else {
            return fail("tensor")
        }
        let numbered = Pickle.dictionary(Pickle.integer(0), Pickle.tensor()) + Pickle.end
        guard case .notAStateDictionary? = try error(pickle: numbered) else { return fail("numbered") }
        guard case .notATensor(_, "model", "a dictionary")? = error(reference: "training-state.bin") else {
            return fail("training state")
        }
        guard case .notATensor(_, "weight", "a storage")? = try error(tensor: Pickle.storage()) else {
            return fail("storage")
        }
    }

    @Test("Two tensors of one name are refused")
    func duplicateName() throws {
        let items = Pickle.text("a") + Pickle.tensor()
        guard case .duplicateName(_, "a")? = try error(pickle: Pickle.dictionary(items, items) + Pickle.end) else {
            return fail("another error")
        }
    }

    @Test("Views whose elements do not lie one behind the other are refused by name")
    func notContiguous() {
        guard case .notContiguous(_, "weight", [3, 2], [1, 3])? = error(reference: "transposed.bin") else {
            return fail("transposed")
        }
        guard case .notContiguous(_, "weight", [2, 3], [0, 1])? = error(reference: "expanded.bin") else {
            return fail("expanded")
        }
    }

    @Test("A view that negates what it shows is refused")
    func negated() {
        guard case .malformedPickle? = error(reference: "conjugate.bin") else { return fail("another error") }
    }

    @Test("Element types that no language model uses are refused by name")
    func elementType() {
        guard case .unsupportedElementType(_, "weight", "DoubleStorage")? = error(reference: "float64.bin") else {
            return fail("another error")
        }
    }

    @Test(
        "A tensor that leaves its storage is refused",
        arguments: [
            (0, [3]), (1, [2]), (3, [0]), (.max, [0]), (.max / 4, [2]), (1 << 62, [2]), (0, [1 << 61]),
            (0, [1 << 40, 1, 2]),
        ] as [(Int, [Int])]
    )
    func pastStorage(offset: Int, shape: [Int]) throws {
        let strides = shape.indices.map { shape[($0 + 1)...].reduce(1, *) }
        let found = try error(tensor: Pickle.tensor(offset: offset, shape: shape, strides: strides))
        switch found {
        case .tensorPastStorage?, .sizeOverflow?: break
        default: fail("\(String(describing: found))")
        }
    }

    @Test(
        "A shape whose product overflows is refused",
        arguments: [[1 << 32, 1 << 32], [.max, 2], [3_037_000_500, 3_037_000_500, 1]] as [[Int]]
    )
    func overflow(shape: [Int]) throws {
        let found = try error(tensor: Pickle.tensor(shape: shape, strides: shape.map { _ in 1 }))
        guard case .sizeOverflow(_, "weight", shape)? = found else { return fail("\(String(describing: found))") }
    }

    @Test("Offsets, extents and strides that are none are refused")
    func malformedTensor() throws {
        for tensor in [
            Pickle.tensor(offset: -1), Pickle.tensor(shape: [-2]), Pickle.tensor(shape: [-1, -2], strides: [1, 1]),
            Pickle.tensor(shape: [2], strides: []), Pickle.tensor(shape: [], strides: [1]),
        ] {
            guard case .malformedTensor(_, "weight", _)? = try error(tensor: tensor) else {
                return fail("another error")
            }
        }
    }

    @Test("A storage that has no entry, or one of another length, is refused")
    func storages() throws {
        for key in ["1", "../data/0", "", "0/"] {
            let found = try error(tensor: Pickle.tensor(storage: Pickle.storage(key: key)))
            guard case .missingEntry? = found else { return fail("\(String(describing: found))") }
        }
        for count in [0, 1, 3, 1 << 61, .max] {
            let found = try error(tensor: Pickle.tensor(storage: Pickle.storage(count: count)))
            guard case .storageDisagreesWithEntry(_, "weight", "data/0", _, 8)? = found else {
                return fail("\(String(describing: found))")
            }
        }
    }

    // MARK: - Archive

    @Test("What is no zip archive is refused; the format before PyTorch 1.6 with a word on how to convert it")
    func otherFormats() throws {
        for data in [Data(), Data([0x50, 0x4B]), Data(repeating: 0, count: 100), Data("version https://git".utf8)] {
            guard case .notAnArchive? = try error(data) else { return fail("another error") }
        }
        let found = error(reference: "legacy.bin")
        guard case .legacyFormat? = found else { return fail("legacy") }
        #expect(found?.localizedDescription.contains("torch.save(torch.load") == true)
    }

    @Test("Compressed and encrypted entries are refused by name")
    func encoded() throws {
        let compressed = try error { $0.entries[2].method = 8 }
        guard case .encodedEntry(_, "archive/data/0", "compressed")? = compressed else { return fail("compressed") }
        let encrypted = try error { $0.entries[0].flags = 1 }
        guard case .encodedEntry(_, "archive/data.pkl", "encrypted")? = encrypted else { return fail("encrypted") }
    }

    @Test("Two entries of one name are refused")
    func duplicateEntry() throws {
        let found = try error { $0.entries.append($0.entries[2]) }
        guard case .duplicateEntry(_, "archive/data/0")? = found else { return fail("another error") }
    }

    @Test("Entries that share bytes are refused, both named")
    func overlap() throws {
        // The pickle's entry goes on into the next one.
        let found = try error {
            $0.entries[0].statedSize = UInt64($0.entries[0].bytes.count + 1)
            $0.entries[0].statedStoredSize = $0.entries[0].statedSize
        }
        guard case .overlappingEntries(_, "archive/byteorder", "archive/data.pkl")? = found else {
            return fail("\(String(describing: found))")
        }
    }

    @Test("An archive without the pickle, or with two, is refused")
    func pickles() throws {
        guard case .missingEntry? = try error({ $0.entries.remove(at: 0) }) else { return fail("none") }
        let second = try error { $0.entries.append(.init(name: "other/data.pkl", bytes: Pickle.stateDictionary())) }
        guard case .missingEntry? = second else { return fail("two") }
        let deeper = try error { $0.entries[0].name = "archive/code/data.pkl" }
        guard case .missingEntry? = deeper else { return fail("deeper") }
    }

    @Test("Big-endian files are refused")
    func byteOrder() throws {
        guard case .bigEndian? = try error({ $0.entries[1].bytes = Array("big".utf8) }) else {
            return fail("another error")
        }
    }

    @Test("Sizes and places that are not what is there are refused, in 32 and in 64 bits", arguments: [false, true])
    func lies(isWide: Bool) throws {
        let edits: [(inout PyTorchArchive) -> Void] = [
            { $0.entries[2].statedSize = 9 },
            { $0.entries[2].statedStoredSize = 7 },
            {
                $0.entries[2].statedSize = 1 << 30
                $0.entries[2].statedStoredSize = 1 << 30
            },
            {
                $0.entries[2].statedSize = .max
                $0.entries[2].statedStoredSize = .max
            },
            { $0.entries[2].statedOffset = 1 },
            { $0.entries[2].statedOffset = 1 << 31 },
            { $0.entries[2].statedOffset = .max },
            { $0.entries[2].headerName = "archive/data/1" },
            { $0.entries[2].headerName = "archive/data/0" + String(repeating: "x", count: 5_000) },
            { $0.statedCount = 3 },
            { $0.statedCount = 5 },
            { $0.statedDirectorySize = 0 },
            { $0.statedDirectorySize = .max },
            { $0.statedDirectoryOffset = 0 },
            { $0.statedDirectoryOffset = .max },
            { $0.statedDirectoryOffset = 1 << 31 },
        ]
        for (index, edit) in edits.enumerated() {
            let found = try error {
                $0.isWide = isWide
                edit(&$0)
            }
            guard case .malformedArchive? = found else { return fail("\(index): \(String(describing: found))") }
        }
    }

    @Test("Bytes before or after the archive are refused")
    func surroundings() throws {
        guard case .malformedArchive? = try error(Data([1, 2, 3]) + PyTorchArchive().data) else {
            return fail("before")
        }
        guard case .notAnArchive? = try error(PyTorchArchive().data + Data([0])) else { return fail("after") }
        guard case .notAnArchive? = try error({ $0.archiveComment = [1, 2] }) else { return fail("comment") }
    }

    // MARK: - Damage

    @Test("A file cut anywhere is refused", arguments: ["types.bin", "views.bin"])
    func truncation(name: String) throws {
        let whole = try Data(contentsOf: PyTorchReference.url(name))
        for count in 0..<whole.count { _ = try error(whole.prefix(count)) }
    }

    @Test(
        "A file with a byte changed anywhere is read or refused, never more", arguments: [0x01, 0x80, 0xFF] as [UInt8])
    func flippedBytes(mask: UInt8) throws {
        let whole = try Data(contentsOf: PyTorchReference.url("views.bin"))
        let url = directory.url.appending(path: "flipped.bin")
        for index in whole.indices {
            var data = whole
            data[index] ^= mask
            try data.write(to: url)
            do {
                let file = try PyTorchFile(contentsOf: url)
                for name in file.tensors.keys {
                    try file.withUnsafeBytes(of: name) { #expect($0.count == file.tensors[name]?.byteCount) }
                }
            } catch is PyTorchError {}
        }
    }

    @Test("Random bytes in the pickle's place are read or refused, never more")
    func randomPickles() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let pickle = (0..<Int.random(in: 1...40, using: &generator)).map { _ in
                UInt8.random(in: .min ... .max, using: &generator)
            }
            let url = try directory.write(PyTorchArchive(pickle: pickle).data, as: "random.bin")
            do { _ = try PyTorchFile(contentsOf: url) } catch is PyTorchError {}
        }
    }
}
