// swift-tools-version: 6.1
import PackageDescription

// The switch for everything that needs libtorch: `ONEBIT_TRAINING=1 swift build`, which is what `make build` says.
// Without it the package is Swift and C alone: the packed runtime, its commands, and nothing to download.
// (An environment variable and not a package trait: a trait cannot take the libtorch targets, which do not compile
// without `make setup`, out of a plain `swift build`.)
let training = Context.environment["ONEBIT_TRAINING"] == "1"

// Where `make setup` unpacks PyPI's `torch` wheel, in the wheel's own layout.
let torch = Context.environment["ONEBIT_LIBTORCH"] ?? "\(Context.packageDirectory)/.deps/torch"

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

// What speaks HTTP, and nothing else: apps that run models link none of it.
let network: [Target.Dependency] = [
    .product(name: "AsyncHTTPClient", package: "async-http-client"),
    .product(name: "Crypto", package: "swift-crypto"),
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOSSL", package: "swift-nio-ssl"),
]
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")

var products: [Product] = [
    .library(name: "JSON", targets: ["JSON"]),
    .library(name: "TensorFiles", targets: ["TensorFiles"]),
    .library(name: "ModelFiles", targets: ["ModelFiles"]),
    .library(name: "ModelDescription", targets: ["ModelDescription"]),
    .library(name: "Jinja", targets: ["Jinja"]),
    .library(name: "Tokenization", targets: ["Tokenization"]),
    .library(name: "SignDecomposition", targets: ["SignDecomposition"]),
    .library(name: "LanguageModel", targets: ["LanguageModel"]),
    .library(name: "OneBitRuntime", targets: ["OneBitRuntime"]),
    .library(name: "OneBitEvaluation", targets: ["OneBitEvaluation"]),
    .library(name: "StudentExport", targets: ["StudentExport"]),
    .library(name: "CorpusSynthesis", targets: ["CorpusSynthesis"]),
    .library(name: "HubClient", targets: ["HubClient"]),
    .library(name: "OneBitServer", targets: ["OneBitServer"]),
    .executable(name: "onebit", targets: ["onebit"]),
    // For Benchmarks, a package of its own. Apps depend on OneBitRuntime.
    .library(name: "CSignKernels", targets: ["CSignKernels"]),
]

var targets: [Target] = [
    .target(name: "CSignKernels"),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .target(name: "JSON", dependencies: ["CZlib"]),
    .target(name: "TensorFiles", dependencies: ["JSON"]),
    .target(name: "ModelFiles", dependencies: ["JSON", "TensorFiles"]),
    .target(name: "ModelDescription", dependencies: ["JSON", "ModelFiles", "TensorFiles"]),
    .target(name: "Jinja", dependencies: ["JSON"]),
    .target(
        name: "Tokenization",
        dependencies: ["JSON", "Jinja", "ModelFiles", protobuf],
        exclude: ["SentencePiece/sentencepiece_model.proto"]
    ),
    .target(name: "SignDecomposition", dependencies: ["ModelDescription", "TensorFiles"]),
    .target(name: "LanguageModel", dependencies: ["ModelDescription", "Tokenization"]),
    .target(
        name: "OneBitRuntime",
        dependencies: ["CSignKernels", "JSON", "LanguageModel", "ModelDescription", "TensorFiles", "SignDecomposition"]),
    .target(name: "OneBitEvaluation", dependencies: ["JSON", "LanguageModel", "ModelFiles", "Tokenization"]),
    .target(
        name: "StudentExport",
        dependencies: ["JSON", "ModelDescription", "ModelFiles", "SignDecomposition", "TensorFiles", "Tokenization"]),
    .target(name: "ResumableRuns", dependencies: ["JSON", "ModelDescription", "ModelFiles", "TensorFiles"]),
    .target(
        name: "CorpusSynthesis",
        dependencies: [
            "JSON", "LanguageModel", "ModelDescription", "ResumableRuns", "SignDecomposition", "TensorFiles",
            "Tokenization",
        ]),
    .target(name: "HubClient", dependencies: ["JSON", "TensorFiles"] + network),
    .target(name: "HTMLReports", dependencies: ["JSON"]),
    .target(
        name: "OneBitServer",
        dependencies: [
            "JSON", "Jinja", "LanguageModel", "Tokenization", .product(name: "HTTPTypes", package: "swift-http-types"),
            .product(name: "AsyncAlgorithms", package: "swift-async-algorithms"),
            .product(name: "Crypto", package: "swift-crypto"), .product(name: "Hummingbird", package: "hummingbird"),
            .product(name: "HummingbirdCore", package: "hummingbird"), .product(name: "Logging", package: "swift-log"),
            .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
            .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
            .product(name: "NIOPosix", package: "swift-nio"),
            .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        ],
        // ChatPage.swift is made of it.
        exclude: ["Page/index.html"]),
    .executableTarget(
        name: "onebit",
        dependencies: [
            "CorpusSynthesis", "HTMLReports", "HubClient", "JSON", "Jinja", "ModelDescription", "ModelFiles",
            "TensorFiles",
            "OneBitEvaluation",
            "OneBitRuntime", "OneBitServer", "ResumableRuns", "SignDecomposition", "StudentExport", "Tokenization",
            argumentParser,
        ] + (training ? ["OneBitTraining", "Torch"] : []),
        exclude: training ? [] : ["Training"],
        swiftSettings: training ? [.define("TRAINING")] : []
    ),
    // What the tests share: temporary directories, the place of the shared reference data.
    .target(
        name: "TestSupport", dependencies: ["CZlib", "JSON", "Jinja", "LanguageModel", "Tokenization"],
        path: "Tests/TestSupport"),
    .testTarget(name: "CSignKernelsTests", dependencies: ["CSignKernels", "TestSupport"]),
    .testTarget(name: "JSONTests", dependencies: ["JSON", "TestSupport"]),
    .testTarget(
        name: "TensorFilesTests", dependencies: ["JSON", "TensorFiles", "TestSupport"], exclude: ["Reference"]),
    .testTarget(
        name: "ModelFilesTests",
        dependencies: ["JSON", "ModelDescription", "ModelFiles", "TensorFiles", "TestSupport", "Tokenization"]),
    .testTarget(
        name: "ModelDescriptionTests", dependencies: ["JSON", "ModelDescription", "TensorFiles", "TestSupport"],
        exclude: ["Reference"]),
    .target(
        name: "MockHub", dependencies: [.product(name: "Crypto", package: "swift-crypto")], path: "Tests/MockHub"),
    .testTarget(name: "HubClientTests", dependencies: ["HubClient", "JSON", "MockHub", "TensorFiles", "TestSupport"]),
    .testTarget(name: "HTMLReportsTests", dependencies: ["HTMLReports", "JSON", "TestSupport"]),
    .testTarget(name: "JinjaTests", dependencies: ["Jinja", "JSON", "TestSupport"], exclude: ["Reference"]),
    .testTarget(
        name: "TokenizationTests",
        dependencies: ["JSON", "ModelFiles", "TensorFiles", "Tokenization", "TestSupport"],
        exclude: ["Reference"]),
    .testTarget(
        name: "StudentExportTests",
        dependencies: [
            "JSON", "LanguageModel", "ModelDescription", "OneBitRuntime", "SignDecomposition", "StudentExport",
            "TensorFiles", "TestSupport", "Tokenization",
        ]),
    .testTarget(name: "SignDecompositionTests", dependencies: ["JSON", "SignDecomposition", "TestSupport"]),
    // Counts allocations; the one target that replaces malloc, in the runtime's tests alone.
    .target(name: "CAllocationCounter", path: "Tests/CAllocationCounter"),
    .testTarget(
        name: "LanguageModelTests", dependencies: ["LanguageModel", "ModelDescription", "TestSupport", "Tokenization"]),
    .testTarget(
        name: "OneBitRuntimeTests",
        dependencies: ["CAllocationCounter", "LanguageModel", "OneBitRuntime", "TestSupport"],
        exclude: ["Reference"]),
    .testTarget(
        name: "OneBitEvaluationTests",
        dependencies: [
            "JSON", "ModelDescription", "TensorFiles", "OneBitEvaluation", "Tokenization", "TestSupport",
        ]),
    .testTarget(
        name: "OneBitServerTests",
        dependencies: [
            "JSON", "LanguageModel", "ModelDescription", "OneBitRuntime", "OneBitServer", "TestSupport", "Tokenization",
            .product(name: "AsyncHTTPClient", package: "async-http-client"),
            .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
        ]),
    .testTarget(
        name: "OneBitCommandTests",
        dependencies: [
            "JSON", "ModelDescription", "TensorFiles", "OneBitRuntime", "OneBitServer", "Tokenization", "onebit",
            "TestSupport",
        ],
        exclude: training ? [] : ["Training"]),
    .testTarget(
        name: "ConformanceTests",
        dependencies: [
            "Jinja", "JSON", "ModelDescription", "OneBitEvaluation", "OneBitRuntime", "TestSupport", "Tokenization",
        ]
            + (training ? ["OneBitTraining", "Torch"] : []),
        exclude: ["Reference"] + (training ? [] : ["Training"])
    ),
]

if training {
    products.append(.library(name: "OneBitTraining", targets: ["OneBitTraining"]))
    targets += [
        .target(
            name: "CLibTorch",
            dependencies: ["CSignKernels"],
            // A library of its own, which `make setup CUDA=1` builds.
            exclude: ["nccl"],
            cxxSettings: [
                // c10d's headers want libtorch's own include path too, and headers of Gloo that the wheel does not have.
                .headerSearchPath("gloo-shim"),
                .unsafeFlags([
                    "-isystem", "\(torch)/include", "-isystem", "\(torch)/include/torch/csrc/api/include",
                    // C++20 would take the header of CSignKernels from a module, of which SwiftPM builds none for C++.
                    "-Wno-deprecated-declarations", "-fno-cxx-modules",
                ]),
            ],
            linkerSettings: [
                // Carried to another machine, the program finds libtorch in a folder or link `torch` beside it.
                .unsafeFlags(
                    ["-L\(torch)/lib"]
                        + ["\(torch)/lib", "$ORIGIN/torch/lib"].flatMap { ["-Xlinker", "-rpath", "-Xlinker", $0] }),
                .linkedLibrary("torch_cpu"),
                .linkedLibrary("c10"),
            ]
        ),
        .target(name: "Torch", dependencies: ["CLibTorch"]),
        .target(
            name: "OneBitTraining",
            dependencies: [
                "CorpusSynthesis", "HTMLReports", "JSON", "LanguageModel", "ModelDescription", "ModelFiles",
                "ResumableRuns", "SignDecomposition", "TensorFiles", "Tokenization", "Torch",
            ]
        ),
        .testTarget(name: "TorchTests", dependencies: ["Torch"]),
        // Operations on tensors without elements, for tests of shapes and devices.
        .target(
            name: "CMetaKernels", path: "Tests/CMetaKernels",
            cxxSettings: [
                .unsafeFlags([
                    "-isystem", "\(torch)/include", "-isystem", "\(torch)/include/torch/csrc/api/include",
                    "-Wno-deprecated-declarations",
                ])
            ]),
        .testTarget(
            name: "OneBitTrainingTests",
            dependencies: [
                "CMetaKernels", "CorpusSynthesis", "HTMLReports", "LanguageModel", "OneBitRuntime", "OneBitTraining",
                "ResumableRuns",
                "TestSupport", "Torch",
            ]),
    ]
}

// The test targets to build, by name and separated by commas, where others and the command line are left out:
// `make test-release` and `make sanitize` build only what they run.
if let tests = Context.environment["ONEBIT_TESTS"]?.split(separator: ",").map(String.init) {
    targets.removeAll { $0.type == .executable || $0.type == .test && !tests.contains($0.name) }
    products.removeAll { $0.name == "onebit" }
    if !tests.contains("HubClientTests") {
        targets.removeAll { ["HubClient", "MockHub"].contains($0.name) }
        products.removeAll { $0.name == "HubClient" }
    }
    if !tests.contains("OneBitServerTests") {
        targets.removeAll { $0.name == "OneBitServer" }
        products.removeAll { $0.name == "OneBitServer" }
    }
}

var dependencies: [Package.Dependency] = [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.29.0"),
]

if targets.contains(where: { ["HubClient", "OneBitServer"].contains($0.name) }) {
    dependencies += [
        .package(url: "https://github.com/apple/swift-crypto", "3.10.0"..<"5.0.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.30.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.25.0"),
    ]
}
if targets.contains(where: { $0.name == "OneBitServer" }) {
    dependencies += [
        .package(url: "https://github.com/apple/swift-async-algorithms.git", from: "1.0.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-nio-extras.git", from: "1.34.1"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.20.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.7.0"),
    ]
}

// `make docs`. Apps that embed the runtime don't resolve it.
if Context.environment["ONEBIT_DOCS"] == "1" {
    dependencies.append(.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0"))
}

let package = Package(
    name: "onebit-swift",
    products: products,
    dependencies: dependencies,
    targets: targets,
    swiftLanguageModes: [.v6],
    cxxLanguageStandard: .cxx20
)
