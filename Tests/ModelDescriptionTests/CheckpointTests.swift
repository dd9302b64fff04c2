import Foundation
import JSON
import ModelDescription
import TensorFiles
import TestSupport
import Testing

struct CheckpointTests {
    let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func error() -> (any Error)? {
        #expect(throws: (any Error).self) { try Checkpoint(directory: directory.url) }
    }

    @Test("What is written is read back, in every float type", arguments: [ElementType.float32, .float16, .bfloat16])
    func roundTrip(type: ElementType) throws {
        try TinyModel.write(to: directory, type: type)
        let checkpoint = try Checkpoint(directory: directory.url)
        #expect(checkpoint.kind == .dense)
        #expect(checkpoint.tensors.count == 2 * 9 + 3)
        for tensor in checkpoint.tensors.values {
            #expect(tensor.elementType == type)
            #expect(try checkpoint.floats(of: tensor.name) == TinyModel.values(of: tensor))
        }
    }

    @Test("Shards hold the same tensors as one file, each within the limit")
    func shards() throws {
        try TinyModel.write(to: directory, shardByteLimit: 600)
        let names = try directory.entries.filter { $0.hasPrefix("model-") }
        #expect(names.count > 3)
        #expect(names.contains("model-00001-of-\("0000\(names.count)".suffix(5)).safetensors"))
        let checkpoint = try Checkpoint(directory: directory.url)
        for tensor in checkpoint.tensors.values {
            #expect(try checkpoint.floats(of: tensor.name) == TinyModel.values(of: tensor))
        }
        for name in names {
            let file = try SafetensorsFile(contentsOf: directory.url.appending(path: name))
            let bytes = file.tensors.values.map(\.byteCount)
            #expect(bytes.count == 1 || bytes.reduce(0, +) <= 600)
        }
        let index = try String(
            contentsOf: directory.url.appending(path: "model.safetensors.index.json"),
            encoding: .utf8
        )
        #expect(index.contains("\"total_size\": \(checkpoint.byteCount)"))
    }

    private static let phi3: [String: String?] = ["model_type": "\"phi3\""]

    @Test("Matrices that a family stores as one are its rows", arguments: [ElementType.float32, .float16, .bfloat16])
    func fusedMatrices(type: ElementType) throws {
        try directory.write(TinyModel.configuration(Self.phi3), as: "config.json")
        let configuration = try ModelConfiguration(contentsOf: directory.file("config.json"))
        let plan = configuration.fused(
            configuration.tensorPlan(kind: .dense, weightType: type, valueType: type) { _ in type })
        #expect(plan.count == 2 * 6 + 3)
        try TinyModel.write(to: directory, changes: Self.phi3, type: type) { _ in plan }
        let checkpoint = try Checkpoint(directory: directory.url)
        #expect(checkpoint.tensors.count == 2 * 9 + 3)
        let whole = TinyModel.values(of: TensorDescription(name: "", elementType: type, shape: [16, 8]))
        let prefix = "model.layers.1.self_attn."
        #expect(try checkpoint.floats(of: prefix + "q_proj.weight") == Array(whole[..<64]))
        #expect(try checkpoint.floats(of: prefix + "k_proj.weight") == Array(whole[64..<96]))
        #expect(try checkpoint.floats(of: prefix + "v_proj.weight") == Array(whole[96...]))
    }

    @Test("A fused matrix of other rows, or beside one that it holds, is refused by name")
    func hostileFusedMatrices() throws {
        try directory.write(TinyModel.configuration(Self.phi3), as: "config.json")
        let configuration = try ModelConfiguration(contentsOf: directory.file("config.json"))
        let name = "model.layers.0.self_attn.qkv_proj.weight"
        try TinyModel.write(to: directory, changes: Self.phi3) { plan in
            configuration.fused(plan).map {
                $0.name == name ? TensorDescription(name: name, elementType: .float32, shape: [15, 8]) : $0
            }
        }
        #expect(
            error() as? CheckpointError
                == .wrongShape(directory: directory.path, tensor: name, expected: [16, 8], found: [15, 8]))
        try TinyModel.write(to: directory, changes: Self.phi3) { plan in
            configuration.fused(plan)
                + plan.filter { $0.name == "model.layers.0.self_attn.q_proj.weight" }
        }
        guard case .tensorTwice(_, "model.layers.0.self_attn.q_proj.weight", name)? = error() as? TensorFileError else {
            return fail("another error")
        }
    }

    @Test("A missing shard is named")
    func missingShard() throws {
        try TinyModel.write(to: directory, shardByteLimit: 600)
        let name = try #require(try directory.entries.first { $0.hasPrefix("model-00002") })
        try FileManager.default.removeItem(at: directory.url.appending(path: name))
        guard case .missingShard(_, name)? = error() as? TensorFileError else { return fail("another error") }
    }

    @Test("A tensor that its shard does not have is named")
    func tensorInWrongShard() throws {
        try TinyModel.write(to: directory, shardByteLimit: 600)
        let url = directory.url.appending(path: "model.safetensors.index.json")
        let text = try String(contentsOf: url, encoding: .utf8)
        let first = try #require(try directory.entries.first { $0.hasPrefix("model-00001") })
        let changed = text.replacingOccurrences(
            of: "\"lm_head.weight\": \"[^\"]*\"",
            with: "\"lm_head.weight\": \"\(first)\"",
            options: .regularExpression
        )
        try Data(changed.utf8).write(to: url)
        guard case .tensorNotInShard(_, "lm_head.weight", first)? = error() as? TensorFileError else {
            return fail("another error")
        }
    }

    @Test(
        "A shard outside the directory is refused unread",
        arguments: ["../model.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", "\\u0000", "../\u{301}b"]
    )
    func escapingShard(shard: String) throws {
        try directory.write(TinyModel.configuration(), as: "config.json")
        try directory.write("{\"weight_map\":{\"a\":\"\(shard)\"}}", as: "model.safetensors.index.json")
        guard case .shardOutsideDirectory? = error() as? TensorFileError else { return fail("another error") }
    }

    @Test(
        "A damaged index is refused",
        arguments: [
            "", "[]", "{}", "{\"weight_map\":[]}", "{\"weight_map\":{\"a\":1}}",
        ]
    )
    func damagedIndex(text: String) throws {
        try directory.write(TinyModel.configuration(), as: "config.json")
        try directory.write(text, as: "model.safetensors.index.json")
        let found = error() as? JSONNodeError
        #expect(found?.file.hasSuffix("model.safetensors.index.json") == true)
    }

    @Test("Of two equal names in the index the later one counts, as in transformers")
    func nameTwiceInIndex() throws {
        try TinyModel.write(to: directory)
        try FileManager.default.moveItem(
            at: directory.file("model.safetensors"), to: directory.file("model-00001-of-00001.safetensors"))
        let plan = try ModelConfiguration(contentsOf: directory.file("config.json"))
            .tensorPlan(kind: .dense, weightType: .float32, valueType: .float32) { _ in .float32 }
        func index(_ shards: [String]) throws {
            let members = plan.flatMap { tensor in shards.map { "\"\(tensor.name)\": \"\($0)\"" } }
            try directory.write(
                "{\"weight_map\": {\(members.joined(separator: ", "))}}", as: "model.safetensors.index.json")
        }
        let shard = "model-00001-of-00001.safetensors"
        try index([shard, shard])
        #expect(try Checkpoint(directory: directory.url).tensors.count == plan.count)
        try index(["missing.safetensors", shard])
        #expect(try Checkpoint(directory: directory.url).tensors.count == plan.count)
        try index([shard, "missing.safetensors"])
        guard case .missingShard(_, "missing.safetensors")? = error() as? TensorFileError else {
            return fail("another error")
        }
    }

    @Test(
        "A tensor that nothing is computed with may have any type, be of any shape, and be listed without being there")
    func ignoredTensors() throws {
        let ignored = "model.layers.0.self_attn.rotary_emb.inv_freq"
        try TinyModel.write(to: directory)
        let file = try SafetensorsFile(contentsOf: directory.file("model.safetensors"))
        let names = file.tensors.keys.sorted()
        var data: [UInt8] = []
        var entries: [String] = []
        for name in names {
            let bytes = try file.withUnsafeBytes(of: name, Array.init)
            let range = "[\(data.count), \(data.count + bytes.count)]"
            entries.append(
                "\"\(name)\": {\"dtype\": \"F32\", \"shape\": \(file.tensors[name]!.shape), \"data_offsets\": \(range)}"
            )
            data += bytes
        }
        for (name, isIgnored) in [(ignored, true), ("model.norm.scale", false)] {
            let range = "[\(data.count), \(data.count + 16)]"
            let entry = "\"\(name)\": {\"dtype\": \"F64\", \"shape\": [2], \"data_offsets\": \(range)}"
            let header = "{\((entries + [entry]).joined(separator: ", "))}"
            try directory.write(
                safetensors(header: header, data: data + [UInt8](repeating: 0, count: 16)), as: "model.safetensors")
            if isIgnored {
                #expect(try Checkpoint(directory: directory.url).tensors.count == names.count)
            } else {
                guard case .unsupportedElementType(_, name, "F64")? = error() as? SafetensorsError else {
                    return fail("another error")
                }
            }
        }
        try TinyModel.write(to: directory, shardByteLimit: 600)
        try FileManager.default.removeItem(at: directory.file("model.safetensors"))
        let url = directory.file("model.safetensors.index.json")
        let index = try String(contentsOf: url, encoding: .utf8)
            .replacing("\"weight_map\": {", with: "\"weight_map\": {\"\(ignored)\": \"not-there.safetensors\",")
        try directory.write(index, as: url.lastPathComponent)
        #expect(try Checkpoint(directory: directory.url).tensors.count == names.count)
    }

    @Test(
        "What a checkpoint is told from others by survives chmod, copies that keep times, and hard links; new bytes do not"
    )
    func identity() throws {
        try TinyModel.write(to: directory)
        let file = directory.file("model.safetensors")
        let original = try Checkpoint(directory: directory.url)
        let identity = original.identity
        try FileManager.default.setAttributes([.posixPermissions: 0o444], ofItemAtPath: file.path)
        #expect(try Checkpoint(directory: directory.url).identity == identity)

        let copy = try TemporaryDirectory()
        try copy.write(TinyModel.configuration(), as: "config.json")
        try FileManager.default.linkItem(at: file, to: copy.file("model.safetensors"))
        #expect(try Checkpoint(directory: copy.url).identity == identity)
        try FileManager.default.removeItem(at: copy.file("model.safetensors"))
        var bytes = try Data(contentsOf: file)
        try bytes.write(to: copy.file("model.safetensors"))
        var times = try FileManager.default.attributesOfItem(atPath: file.path)
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1e9)], ofItemAtPath: copy.file("model.safetensors").path)
        #expect(try Checkpoint(directory: copy.url).identity != identity)
        times = times.filter { $0.key == .modificationDate }
        bytes[bytes.count - 1] ^= 1
        try bytes.write(to: copy.file("model.safetensors"))
        try FileManager.default.setAttributes(times, ofItemAtPath: copy.file("model.safetensors").path)
        #expect(try Checkpoint(directory: copy.url).identity != identity)
    }

    @Test("A directory without configuration or weights says what is missing")
    func empty() throws {
        guard case .notACheckpoint(_, "config.json")? = error() as? CheckpointError else {
            return fail("another error")
        }
        try directory.write(TinyModel.configuration(), as: "config.json")
        guard case .noWeights(_, let missing)? = error() as? TensorFileError else { return fail("another error") }
        #expect(missing.contains("model.safetensors"))
    }

    @Test("Tensors that do not fit the configuration are named: missing, extra, of another shape or type")
    func misfits() throws {
        let norm = "model.norm.weight"
        try TinyModel.write(to: directory) { $0.filter { $0.name != norm } }
        guard case .missingTensor(_, norm)? = error() as? CheckpointError else { return fail("missing") }
        try TinyModel.write(to: directory) {
            $0 + [TensorDescription(name: "model.layers.0.self_attn.q_proj.bias", elementType: .float32, shape: [8])]
        }
        guard case .unexpectedTensor(_, "model.layers.0.self_attn.q_proj.bias", _)? = error() as? CheckpointError else {
            return fail("extra")
        }
        try TinyModel.write(to: directory) {
            $0.map { $0.name == norm ? TensorDescription(name: norm, elementType: .float32, shape: [9]) : $0 }
        }
        guard case .wrongShape(_, norm, [8], [9])? = error() as? CheckpointError else { return fail("shape") }
        try TinyModel.write(to: directory)
        try directory.write(
            TinyModel.configuration([
                "quantization_config": """
                {"quant_method":"onebit","bits":1,"checkpoint_format":"onebit-lsb-v1","post_layernorm":true}
                """
            ]),
            as: "config.json"
        )
        guard case .wrongShape? = error() as? CheckpointError else { return fail("packed") }
    }

    @Test("A tied model may store its head, and old checkpoints their rotary frequencies: neither is loaded")
    func ignored() throws {
        try TinyModel.write(to: directory, changes: ["tie_word_embeddings": "true"]) {
            $0 + [
                TensorDescription(name: "lm_head.weight", elementType: .float32, shape: [12, 8]),
                TensorDescription(
                    name: "model.layers.0.self_attn.rotary_emb.inv_freq",
                    elementType: .float32,
                    shape: [2]
                ),
            ]
        }
        let checkpoint = try Checkpoint(directory: directory.url)
        #expect(checkpoint.tensors["lm_head.weight"] == nil)
        #expect(throws: CheckpointError.self) { try checkpoint.floats(of: "lm_head.weight") }
    }

    @Test("Names without the model's prefix, as checkpoints of the bare decoder have them, are the model's")
    func bareNames() throws {
        let bare = { (tensor: TensorDescription) in
            let name = tensor.name.hasPrefix("model.") ? String(tensor.name.dropFirst("model.".count)) : tensor.name
            return TensorDescription(name: name, elementType: tensor.elementType, shape: tensor.shape)
        }
        try TinyModel.write(to: directory) { $0.map(bare) }
        let checkpoint = try Checkpoint(directory: directory.url)
        let name = "model.layers.1.mlp.up_proj.weight"
        let tensor = try checkpoint.description(of: name)
        #expect(tensor.name == name)
        #expect(try checkpoint.floats(of: name) == TinyModel.values(of: tensor))
        #expect(try checkpoint.mapped(name).bytes.count == tensor.byteCount)
        #expect(checkpoint.tensors["layers.1.mlp.up_proj.weight"] == nil)

        try TinyModel.write(to: directory) { $0 + $0.filter { $0.name == "model.norm.weight" }.map(bare) }
        guard case .sameTensorTwice(_, "model.norm.weight", "norm.weight")? = error() as? CheckpointError else {
            return fail("another error")
        }
    }

    @Test("A stage that gets the wrong kind says which it wants")
    func wrongKind() throws {
        try TinyModel.write(to: directory)
        let checkpoint = try Checkpoint(directory: directory.url)
        try checkpoint.require(.dense)
        #expect(throws: CheckpointError.self) { try checkpoint.require(.packed) }
    }

    @Test("An output that would replace the input is refused, through links and parents too")
    func outputIsInput() throws {
        try TinyModel.write(to: directory)
        let link = directory.url.deletingLastPathComponent().appending(path: "link-\(UUID().uuidString)")
        try FileManager.default.createSymbolicLink(at: link, withDestinationURL: directory.url)
        defer { try? FileManager.default.removeItem(at: link) }
        let checkpoint = try Checkpoint(directory: directory.url)
        for url in [directory.url, link, directory.url.deletingLastPathComponent()] {
            #expect(throws: FileError.self) { try checkpoint.validateOutput(url) }
        }
        try checkpoint.validateOutput(directory.url.appending(path: "student"))
    }

    @Test("Auxiliary files are copied, and nothing else")
    func auxiliaryFiles() throws {
        try TinyModel.write(to: directory)
        try directory.write("{}", as: "tokenizer.json")
        try directory.write("secret", as: ".env")
        let target = try TemporaryDirectory()
        try Checkpoint(directory: directory.url).copyAuxiliaryFiles(to: target.url)
        #expect(try target.entries == ["tokenizer.json"])
    }
}
