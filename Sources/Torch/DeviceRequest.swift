import CLibTorch
import Foundation
import Synchronization

/// The device that somebody asks for, before it is known what the machine has.
public enum DeviceRequest: Sendable, Hashable, CustomStringConvertible {
    /// A CUDA device where there is one that can be used, else the CPU.
    case automatic
    case cpu
    /// The CUDA device of this number; where nil, the one whose number is the process's among those of its machine.
    case cuda(index: Int?)

    /// Reads `auto`, `cpu`, `cuda` or `cuda:N`.
    public init?(_ text: String) {
        switch text {
        case "auto": self = .automatic
        case "cpu": self = .cpu
        case "cuda": self = .cuda(index: nil)
        default:
            guard text.hasPrefix("cuda:"), let index = Int(text.dropFirst("cuda:".count)), (0..<128).contains(index)
            else {
                return nil
            }
            self = .cuda(index: index)
        }
    }

    public var description: String {
        switch self {
        case .automatic: "auto"
        case .cpu: "cpu"
        case .cuda(let index): index.map { "cuda:\($0)" } ?? "cuda"
        }
    }

    /// The device. For a CUDA device libtorch's CUDA library is opened, and the device made the one to compute on.
    ///
    /// Call it before any tensor is made: libtorch looks only once whether there is CUDA. What ``automatic`` has found
    /// holds for the process.
    ///
    /// - Parameters:
    ///   - localRank: The number of this process among those of its machine; 0 where it is alone.
    ///   - explain: Is told why ``automatic`` took the CPU although NVIDIA's driver is installed.
    /// - Throws: ``DeviceError``; for ``automatic`` only where it comes too late.
    public func select(localRank: Int = 0, explain: (DeviceError) -> Void = { _ in }) throws -> Device {
        switch self {
        case .cpu: return .cpu
        case .cuda(let index): return try Self.selectCUDA(index ?? localRank)
        case .automatic:
            return try Self.found.withLock { found in
                let device = try found ?? Self.find(localRank, explain)
                found = device
                return device
            }
        }
    }

    private static let found = Mutex<Device?>(nil)

    private static func find(_ localRank: Int, _ explain: (DeviceError) -> Void) throws -> Device {
        // Without a driver there is nothing to look for, and nothing is opened.
        guard lt_has_cuda_driver() else { return .cpu }
        do {
            return try selectCUDA(localRank)
        } catch let error as DeviceError where error != .loadedTooLate {
            explain(error)
            return .cpu
        }
    }

    private static func selectCUDA(_ index: Int) throws -> Device {
        try CUDALibrary.load()
        let state = lt_ask_cuda()
        switch state.error {
        case 0: break
        case CUDALibrary.noDevice: throw DeviceError.noDevice
        case _ where state.driver_version == 0: throw DeviceError.noDriver
        case CUDALibrary.insufficientDriver:
            throw DeviceError.driverTooOld(
                driver: CUDALibrary.version(state.driver_version), needed: CUDALibrary.version(state.runtime_version))
        default: throw DeviceError.unusable(reason: String(cString: lt_last_error()))
        }
        let count = Int(state.devices)
        guard count > 0 else { throw DeviceError.noDevice }
        guard index < count else { throw DeviceError.noSuchDevice(index: index, count: count) }
        let device = Device.cuda(index)
        if let properties = try device.properties(), properties.capability < .least {
            throw DeviceError.capabilityTooOld(properties)
        }
        try check(lt_use_cuda_device(Int32(index)), "the choice of \(device)")
        return device
    }
}

/// libtorch's CUDA library: where it is, and whether it is the one that this program was made for.
public enum CUDALibrary {
    static let fileName = "libtorch_cuda.so"
    // cudaError_t
    static let noDevice: Int32 = 100
    static let insufficientDriver: Int32 = 35

    /// Whether it was opened by this process.
    public static var isLoaded: Bool { lt_cuda_is_loaded() }

    /// Opens the library of the first of ``candidates(environment:)`` that has one. Opening it again does nothing.
    static func load(environment: [String: String] = ProcessInfo.processInfo.environment) throws {
        if isLoaded { return }
        guard !lt_has_made_tensors() else { throw DeviceError.loadedTooLate }
        let candidates = candidates(environment: environment)
        let libraries = candidates.lazy.map { $0.appending(path: fileName) }
        guard let library = libraries.first(where: { FileManager.default.fileExists(atPath: $0.path) }) else {
            throw DeviceError.libraryNotFound(searched: candidates)
        }
        let expected = String(cString: lt_version())
        if let found = version(of: library), found.prefix(while: { $0 != "+" }) != expected {
            throw DeviceError.wrongVersion(library: library, found: found, expected: expected)
        }
        guard lt_load_cuda(library.path) == 0 else {
            throw DeviceError.notLoadable(library: library, reason: String(cString: lt_last_error()))
        }
    }

    /// Folders that may hold the library: what `ONEBIT_LIBTORCH` names, the one that libtorch's CPU library was loaded
    /// from, and that of the PyTorch that `python3` imports.
    static func candidates(environment: [String: String]) -> [URL] {
        var folders: [URL] = []
        if let named = environment["ONEBIT_LIBTORCH"], !named.isEmpty {
            folders.append(URL(filePath: named, directoryHint: .isDirectory).appending(path: "lib"))
        }
        folders.append(URL(filePath: String(cString: lt_library_path())).deletingLastPathComponent())
        let isThere = { (folder: URL) in
            FileManager.default.fileExists(atPath: folder.appending(path: fileName).path)
        }
        if !folders.contains(where: isThere), let installed = installedPyTorch(environment: environment) {
            folders.append(installed)
        }
        return folders
    }

    /// The libraries of the PyTorch that `python3` would import, without importing it.
    private static func installedPyTorch(environment: [String: String]) -> URL? {
        let script = """
            from importlib.util import find_spec
            found = find_spec("torch")
            print(found.origin or "" if found else "")
            """
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3", "-c", script]
        process.environment = environment
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let path = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard process.terminationStatus == 0, path.hasPrefix("/") else { return nil }
        return URL(filePath: path).deletingLastPathComponent().appending(path: "lib")
    }

    /// The version of the libtorch that a library is part of, as the files beside it say: `version.py` in an installed
    /// PyTorch, a header where `make setup` has unpacked one. Nil where neither is there.
    static func version(of library: URL) -> String? {
        let torch = library.deletingLastPathComponent().deletingLastPathComponent()
        func read(_ path: String, _ pattern: Regex<(Substring, Substring)>) -> String? {
            guard let text = try? String(contentsOf: torch.appending(path: path), encoding: .utf8) else { return nil }
            return text.firstMatch(of: pattern).map { String($0.1) }
        }
        return read("version.py", /__version__ = '([^']*)'/)
            ?? read("include/torch/headeronly/version.h", /TORCH_VERSION \\\s*"([^"]*)"/)
    }

    /// CUDA's own counting: 13000 is 13.0.
    static func version(_ number: Int32) -> String { "\(number / 1000).\(number % 1000 / 10)" }
}

/// Why a device cannot be used.
public enum DeviceError: LocalizedError, Sendable, Hashable {
    case libraryNotFound(searched: [URL])
    case wrongVersion(library: URL, found: String, expected: String)
    case notLoadable(library: URL, reason: String)
    case loadedTooLate
    case noDriver
    case driverTooOld(driver: String, needed: String)
    case noDevice
    case noSuchDevice(index: Int, count: Int)
    case capabilityTooOld(DeviceProperties)
    case unusable(reason: String)

    public var errorDescription: String? {
        switch self {
        case .libraryNotFound(let searched):
            "libtorch's CUDA library, \(CUDALibrary.fileName), is not installed: it is not in "
                + searched.map(\.path).joined(separator: " or ") + "."
        case .wrongVersion(let library, let found, let expected):
            "\(library.path) is of libtorch \(found); this program was built with \(expected)."
        case .notLoadable(let library, let reason): "\(library.path) cannot be loaded: \(reason)."
        case .loadedTooLate: "CUDA was asked for after the first tensor was made."
        case .noDriver: "libtorch's CUDA library is installed, but NVIDIA's driver is not (libcuda.so.1)."
        case .driverTooOld(let driver, let needed):
            "NVIDIA's driver is too old: it knows CUDA \(driver), and libtorch needs \(needed)."
        case .noDevice: "NVIDIA's driver finds no device."
        case .noSuchDevice(let index, let count):
            "There is no CUDA device \(index): the machine has \(count == 1 ? "one" : "\(count)"), counted from 0."
        case .capabilityTooOld(let properties):
            "\(properties) has compute capability \(properties.capability); libtorch's needs "
                + "\(DeviceProperties.ComputeCapability.least) or more."
        case .unusable(let reason): "CUDA cannot be used: \(reason)."
        }
    }

    public var recoverySuggestion: String? {
        switch self {
        case .libraryNotFound: "Install it, or let ONEBIT_LIBTORCH name the folder torch of a PyTorch that has it."
        case .wrongVersion(_, _, let expected): "Install libtorch \(expected) with CUDA, or build with the other."
        case .notLoadable: "Install libtorch again, with NVIDIA's libraries."
        case .loadedTooLate: "Choose the device first."
        case .noDriver, .driverTooOld: "Install NVIDIA's driver of branch 580 or newer, or compute on the CPU."
        case .noDevice: "Look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or compute on the CPU."
        case .noSuchDevice: "Name one of these, and look at CUDA_VISIBLE_DEVICES."
        case .capabilityTooOld: "Choose another device, or compute on the CPU."
        case .unusable: "Look at nvidia-smi, or compute on the CPU."
        }
    }
}
