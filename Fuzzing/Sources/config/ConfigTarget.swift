import Foundation
import FuzzSupport
import JSON
import ModelDescription

// The input is config.json, and behind a separator generation_config.json. What is accepted is written and read again,
// which takes the JSON reader and writer along.

private let directory = ScratchDirectory()
private let file = directory.url.appending(path: "config.json")

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = FuzzInput(start, count, parts: 2)
    directory.put(input[0], at: "config.json")
    directory.put(input[1], at: "generation_config.json")
    guard let configuration = load() else { return 0 }

    require(configuration.parameterCount > 0, "a model without parameters")
    let plan = configuration.tensorPlan(
        kind: configuration.kind, weightType: .float32, valueType: .float16, floatType: { _ in .bfloat16 }
    )
    require(plan.reduce(0) { $0 + $1.byteCount } > 0, "a model without bytes")

    guard let written = refusing(load: { try configuration.jsonData(quantization: configuration.quantization) }) else {
        return 0
    }
    written.withUnsafeBytes { directory.put($0, at: "config.json") }
    require(load() == configuration, "what was written is read as something else")
    return 0
}

private func load() -> ModelConfiguration? {
    refusing(with: ConfigurationError.self, JSONNodeError.self, FileError.self) {
        try ModelConfiguration(contentsOf: file, unknownKeys: .allowed)
    }
}
