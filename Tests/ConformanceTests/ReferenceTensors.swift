import Foundation
import ModelDescription
import TensorFiles
import TestSupport

/// Tensors of a reference file, as numbers.
struct ReferenceTensors {
    let file: SafetensorsFile

    init(_ path: String) throws { file = try SafetensorsFile(contentsOf: SharedData.url(path)) }

    var names: [String] { file.tensors.keys.sorted() }

    func shape(_ name: String) throws -> [Int] { try description(name).shape }

    func floats(_ name: String) throws -> [Float] {
        _ = try description(name)
        return try file.withUnsafeBytes(of: name) { Array($0.bindMemory(to: Float.self)) }
    }

    func integers(_ name: String) throws -> [Int] {
        switch try description(name).elementType {
        case .int64: try file.withUnsafeBytes(of: name) { $0.bindMemory(to: Int64.self).map(Int.init) }
        default: try file.withUnsafeBytes(of: name) { $0.bindMemory(to: Int32.self).map(Int.init) }
        }
    }

    private func description(_ name: String) throws -> TensorDescription {
        guard let description = file.tensors[name] else { throw MissingReference(name: name) }
        return description
    }

    struct MissingReference: Error { let name: String }
}

/// ‖found − expected‖₂ / ‖expected‖₂.
func relativeError(_ found: [Float], _ expected: [Float]) -> Double {
    guard found.count == expected.count else { return .infinity }
    var difference = 0.0
    var norm = 0.0
    for (f, e) in zip(found, expected) {
        difference += Double(f - e) * Double(f - e)
        norm += Double(e) * Double(e)
    }
    return norm == 0 ? difference.squareRoot() : (difference / norm).squareRoot()
}
