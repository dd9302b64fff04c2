// swift-tools-version: 6.1
import PackageDescription

// A package of its own, so that the one beside it stays free of unsafe flags and of what only fuzzing needs.
// `run.sh` builds it: the sanitizers are options of the build, because the libraries under test need them too.

/// A fuzz target: a library with `LLVMFuzzerTestOneInput` in it, to which libFuzzer brings `main`.
func fuzzTarget(_ name: String, _ dependencies: Target.Dependency...) -> Target {
    .executableTarget(
        name: name,
        dependencies: ["FuzzSupport"] + dependencies,
        // Else a single file is a script.
        swiftSettings: [.unsafeFlags(["-parse-as-library"])]
    )
}

let json = Target.Dependency.product(name: "JSON", package: "onebit-swift")
let tensorFiles = Target.Dependency.product(name: "TensorFiles", package: "onebit-swift")
let modelDescription = Target.Dependency.product(name: "ModelDescription", package: "onebit-swift")
let jinja = Target.Dependency.product(name: "Jinja", package: "onebit-swift")
let tokenization = Target.Dependency.product(name: "Tokenization", package: "onebit-swift")

let package = Package(
    name: "onebit-fuzzing",
    dependencies: [.package(name: "onebit-swift", path: "..")],
    targets: [
        .target(name: "FuzzSupport"),
        .target(name: "TokenizerExercise", dependencies: ["FuzzSupport", tokenization]),
        fuzzTarget("safetensors", json, tensorFiles, modelDescription),
        fuzzTarget("shard-index", json, tensorFiles, modelDescription),
        fuzzTarget("pytorch", json, tensorFiles),
        fuzzTarget("gguf", json, tensorFiles, modelDescription, tokenization, "TokenizerExercise"),
        fuzzTarget("config", json, modelDescription),
        fuzzTarget("tokenizer-json", json, tokenization, "TokenizerExercise"),
        fuzzTarget("tokenizer-model", json, tokenization, "TokenizerExercise"),
        fuzzTarget("tekken", json, tokenization, "TokenizerExercise"),
        fuzzTarget("vocabulary-files", json, tokenization, "TokenizerExercise"),
        fuzzTarget("jinja", jinja),
        fuzzTarget("chat-template", json, jinja, tokenization),
    ],
    swiftLanguageModes: [.v6]
)
