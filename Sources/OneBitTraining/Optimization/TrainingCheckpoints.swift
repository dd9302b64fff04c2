import Foundation
import ModelDescription
import TensorFiles

/// The training checkpoints of one run: everything that a killed run needs to go on as if nothing had happened.
///
/// Each is a directory `step-N` with the parameters, the optimiser's moments, the step and the log so far. The place in
/// the data and all random choices follow from step and seed. A directory gets its name only when it is whole.
struct TrainingCheckpoints {
    let directory: URL
    /// The newest ones are kept, in case the last turns out damaged.
    private let kept = 2

    /// What identifies a run: a resumed one must have been started with the same.
    struct Identity: Codable, Hashable {
        let plan: TrainingPlan
        /// Digest of the training tokens.
        let corpus: UInt64
    }

    private struct State: Codable {
        var identity: Identity
        var step: Int
        var events: [TrainingEvent]
    }

    /// Numbers of the steps that were saved, oldest first.
    func savedSteps() throws -> [Int] {
        guard FileManager.default.fileExists(atPath: directory.path) else { return [] }
        return try FileManager.default.contentsOfDirectory(atPath: directory.path)
            .compactMap { $0.hasPrefix("step-") ? Int($0.dropFirst(5)) : nil }
            .sorted()
    }

    func save(step: Int, identity: Identity, events: [TrainingEvent], model: Transformer, optimizer: AdamW) throws {
        try StagedDirectory.write(to: url(of: step), overwrite: true) { directory in
            try write(model.parameters.map { ($0.name, $0.tensor) }, to: directory.appending(path: "model"))
            try write(moments(of: optimizer), to: directory.appending(path: "optimizer"))
            let state = State(identity: identity, step: step, events: events)
            try writeAtomically(try JSONEncoder.sorted.encode(state), to: directory.appending(path: "state.json"))
        }
        for old in try savedSteps().dropLast(kept) { try FileManager.default.removeItem(at: url(of: old)) }
    }

    /// Puts the newest checkpoint into `model` and `optimizer`.
    ///
    /// - Returns: Its step and the events up to it; nil where nothing was saved yet.
    /// - Throws: ``TrainingError/settingsChanged(directory:key:saved:given:)`` where the run was begun differently,
    ///   ``TrainingError/damagedTrainingCheckpoint(directory:reason:)``, and what reading throws.
    func restore(
        identity: Identity, model: Transformer, optimizer: AdamW
    ) throws -> (step: Int, events: [TrainingEvent])? {
        guard let newest = try savedSteps().last else { return nil }
        let saved = url(of: newest)
        let state: State
        do {
            state = try JSONDecoder().decode(State.self, from: Data(contentsOf: saved.appending(path: "state.json")))
        } catch {
            throw TrainingError.damagedTrainingCheckpoint(directory: saved, reason: "state.json: \(error)")
        }
        try requireSame(saved: state.identity, given: identity)
        try read(model.parameters.map { ($0.name, $0.tensor) }, from: saved.appending(path: "model"))
        try read(moments(of: optimizer), from: saved.appending(path: "optimizer"))
        return (state.step, state.events)
    }

    private func url(of step: Int) -> URL { directory.appending(path: "step-\(step)") }

    private func moments(of optimizer: AdamW) -> [(String, Tensor)] {
        optimizer.parameters.indices.flatMap { index in
            let name = optimizer.parameters[index].name
            return [
                ("\(name).first_moment", optimizer.firstMoments[index]),
                ("\(name).second_moment", optimizer.secondMoments[index]),
            ]
        }
    }

    private func write(_ tensors: [(String, Tensor)], to directory: URL) throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let writer = try CheckpointWriter(
            directory: directory,
            tensors: tensors.map { TensorDescription(name: $0.0, elementType: .float32, shape: $0.1.shape) },
            metadata: [:],
            shardByteLimit: .max
        )
        for (name, tensor) in tensors { try writer.write(name, floats: try tensor.floats()) }
        try writer.finish()
    }

    private func read(_ tensors: [(String, Tensor)], from directory: URL) throws {
        let file = try SafetensorsFile(contentsOf: directory.appending(path: "model.safetensors"))
        for (name, tensor) in tensors {
            guard let description = file.tensors[name], description.shape == tensor.shape,
                description.elementType == .float32
            else {
                throw TrainingError.damagedTrainingCheckpoint(
                    directory: directory, reason: "no float32 tensor \(name) of shape \(tensor.shape)")
            }
            let floats = try file.withUnsafeBytes(of: name) { Array($0.bindMemory(to: Float.self)) }
            try tensor.copy(from: try Tensor(floats, shape: tensor.shape))
        }
    }

    /// Names the first setting that differs.
    private func requireSame(saved: Identity, given: Identity) throws {
        guard saved != given else { return }
        let (old, new) = (try flattened(saved), try flattened(given))
        let key = Set(old.keys).union(new.keys).sorted().first { old[$0] != new[$0] } ?? "settings"
        throw TrainingError.settingsChanged(
            directory: directory, key: key, saved: old[key] ?? "nothing", given: new[key] ?? "nothing")
    }

    private func flattened(_ identity: Identity) throws -> [String: String] {
        var result: [String: String] = [:]
        func visit(_ value: Any, _ path: String) {
            if let object = value as? [String: Any] {
                for (key, member) in object { visit(member, path.isEmpty ? key : "\(path).\(key)") }
            } else {
                result[path] = "\(value)"
            }
        }
        visit(try JSONSerialization.jsonObject(with: JSONEncoder().encode(identity)), "")
        return result
    }
}

extension JSONEncoder {
    /// The same value gives the same bytes.
    static var sorted: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }
}
