import Foundation
import TestSupport
import Testing

/// What `--device` does on a machine without a usable device: a message that says what is missing, and exit code 1.
@Suite("The device that a command is given")
struct DeviceOptionTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    /// A command that asks for its device before it opens the model, and has none to open.
    private static let command = "onebit pretrain /dev/null --output /nonexistent/x"

    private static let hasDriver = FileManager.default.fileExists(atPath: "/dev/nvidiactl")

    /// The folder `torch` of an installed PyTorch with CUDA's libraries.
    private static let installedTorch: String? = {
        let candidates = [ProcessInfo.processInfo.environment["ONEBIT_TEST_CUDA_TORCH"], ".deps/torch"]
        return candidates.compactMap(\.self).first {
            FileManager.default.fileExists(atPath: $0 + "/lib/libtorch_cuda.so")
        }
    }()

    /// A folder `torch` with a file in the library's place.
    private func fakeTorch(version: String) throws -> String {
        try FileManager.default.createDirectory(
            at: folder.url.appending(path: "lib"), withIntermediateDirectories: true)
        _ = try folder.write("no library", as: "lib/libtorch_cuda.so")
        _ = try folder.write("__version__ = '\(version)'\n", as: "version.py")
        return folder.url.path
    }

    @Test("A name that is none is wrong usage")
    func wrongName() async throws {
        let outcome = try await BuiltCommand.run(["pretrain", "/dev/null", "--output", "x", "--device", "gpu"])
        #expect(outcome.exitCode == 64)
        #expect(outcome.errors.contains("gpu"))
    }

    @Test("CUDA libraries of another version are refused by both versions")
    func wrongVersion() async throws {
        let torch = try fakeTorch(version: "2.10.0+cu128")
        let outcome = try await BuiltCommand.shell("ONEBIT_LIBTORCH=\(torch) \(Self.command) --device cuda")
        #expect(outcome.exitCode == 1)
        #expect(outcome.errors.contains("libtorch 2.10.0+cu128") && outcome.errors.contains("2.11.0"))
        #expect(outcome.errors.contains("--device cpu"))
    }

    @Test("A library that the loader refuses is named with the loader's reason")
    func damagedLibrary() async throws {
        let torch = try fakeTorch(version: "2.11.0+cu130")
        let outcome = try await BuiltCommand.shell("ONEBIT_LIBTORCH=\(torch) \(Self.command) --device cuda")
        #expect(outcome.exitCode == 1)
        #expect(
            outcome.errors.contains("\(torch)/lib/libtorch_cuda.so") && outcome.errors.contains("make setup CUDA=1"))
    }

    @Test("Without NVIDIA's driver, --device cuda says so", .enabled(if: installedTorch != nil && !hasDriver))
    func noDriver() async throws {
        let torch = try #require(Self.installedTorch)
        let outcome = try await BuiltCommand.shell("ONEBIT_LIBTORCH=\(torch) \(Self.command) --device cuda:0")
        #expect(outcome.exitCode == 1)
        #expect(outcome.errors.contains("NVIDIA's driver is not"))
    }

    @Test("Without NVIDIA's driver, auto is the CPU and says nothing", .enabled(if: !hasDriver))
    func automatic() async throws {
        let outcome = try await BuiltCommand.shell("ONEBIT_LIBTORCH=/nonexistent \(Self.command) --device auto")
        #expect(outcome.exitCode == 1)
        #expect(!outcome.errors.contains("CUDA"))
    }
}
