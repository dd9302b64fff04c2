// swift-tools-version: 6.1
import PackageDescription

let package = Package(
    name: "ChatApp",
    dependencies: [
        // In a package of yours: its URL.
        .package(name: "onebit-swift", path: "../..")
    ],
    targets: [
        .executableTarget(
            name: "ChatApp", dependencies: [.product(name: "OneBitRuntime", package: "onebit-swift")])
    ],
    swiftLanguageModes: [.v6]
)
