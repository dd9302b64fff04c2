// swift-tools-version: 6.1
import PackageDescription

// A package of its own: what measures speed is built when it is asked for, and apps that embed the runtime never see it.
// README.md says how to run it, and why it uses no benchmarking library.
let package = Package(
    name: "onebit-benchmarks",
    dependencies: [.package(name: "onebit-swift", path: "..")],
    targets: [
        .executableTarget(
            name: "KernelBenchmark", dependencies: [.product(name: "CSignKernels", package: "onebit-swift")],
            path: "Kernels", exclude: ["thresholds.json"]),
        .executableTarget(
            name: "TokenizerBenchmark", dependencies: [.product(name: "Tokenization", package: "onebit-swift")],
            path: "Tokenizers", exclude: ["make_llama3_size.py"]),
    ],
    swiftLanguageModes: [.v6]
)
