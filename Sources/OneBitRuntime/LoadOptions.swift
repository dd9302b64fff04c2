import Foundation

/// Where the sign matrices are kept in the order that the kernels want.
public enum SignLayoutPolicy: Sendable, Hashable {
    /// In a file in the checkpoint's directory, `.onebit/LAYOUT.safetensors`, made at the first load and checked at every
    /// one; where that directory cannot be written, in ``LoadOptions/cacheDirectory``; otherwise in memory.
    case file
    /// In memory, made at every load.
    case memory
}

/// To how many bits a sign layer's input is rounded, per token. Sums over it are exact either way.
public enum InputPrecision: Int, Sendable, CaseIterable {
    /// 1,365 levels, and the four largest inputs of a token in 16 bits. Two look-ups where 16 bits take three: prompts are
    /// read about 1.4 times as fast, and generation where memory is not the limit.
    case bits10 = 10
    /// 65,535 levels: nothing lost against activations in 16-bit floats.
    case bits16 = 16

    public static let `default` = InputPrecision.bits10
}

/// In what precision a packed model's output projection is computed.
public enum HeadPrecision: String, Sendable, CaseIterable {
    /// As it is stored: in floats, or in 8 bits.
    case stored
    /// In 8 bits with a scale per row, made at load where it is stored in floats: half the bytes of 16-bit floats.
    case bits8 = "8"
}

/// In what precision the keys and values of the tokens that were read are kept.
public enum CachePrecision: Int, Sendable, CaseIterable {
    /// In 8 bits with a scale for each head and token: half the memory of 16 bits, and half of what attention reads.
    case bits8 = 8
    /// In 16-bit floats.
    case bits16 = 16
}

/// How a packed model is loaded and run.
public struct LoadOptions: Sendable {
    /// Threads to compute with; nil is as many as there are physical cores.
    public var threads: Int?
    /// Bits to which the inputs of the sign layers are quantized.
    public var inputPrecision: InputPrecision
    /// Precision of `lm_head`.
    public var headPrecision: HeadPrecision
    /// Precision of keys and values.
    public var cachePrecision: CachePrecision
    /// The kernels; nil is what the environment or the CPU says.
    public var instructionSet: InstructionSet?
    /// Where the kernels' order of the signs is kept.
    public var layoutPolicy: SignLayoutPolicy
    /// Where the kernels' order of the signs is kept for checkpoints in directories that cannot be written; nil is nowhere.
    public var cacheDirectory: URL?
    /// Called with what happens at load that a user may want to know.
    public var report: @Sendable (LoadEvent) -> Void

    public init(
        threads: Int? = nil,
        inputPrecision: InputPrecision = .default,
        headPrecision: HeadPrecision = .stored,
        cachePrecision: CachePrecision = .bits16,
        instructionSet: InstructionSet? = nil,
        layoutPolicy: SignLayoutPolicy = .file,
        cacheDirectory: URL? = LoadOptions.userCacheDirectory,
        report: @escaping @Sendable (LoadEvent) -> Void = { _ in }
    ) {
        self.threads = threads
        self.inputPrecision = inputPrecision
        self.headPrecision = headPrecision
        self.cachePrecision = cachePrecision
        self.instructionSet = instructionSet
        self.layoutPolicy = layoutPolicy
        self.cacheDirectory = cacheDirectory
        self.report = report
    }

    /// `$XDG_CACHE_HOME/onebit`, by default `~/.cache/onebit` (XDG Base Directory Specification).
    public static var userCacheDirectory: URL {
        let base = ProcessInfo.processInfo.environment["XDG_CACHE_HOME"] ?? ""
        // The specification: a relative path is invalid and to be ignored.
        let home = FileManager.default.homeDirectoryForCurrentUser
        let directory = base.hasPrefix("/") ? URL(filePath: base) : home.appending(path: ".cache")
        return directory.appending(path: "onebit", directoryHint: .isDirectory)
    }
}

/// What happens at load that a user may want to know.
public enum LoadEvent: Sendable, Equatable, CustomStringConvertible {
    /// The file of the kernels' order is made, because there is none.
    case buildingLayout(file: String)
    /// The file is stale or damaged and is made again.
    case rebuildingLayout(file: String, reason: String)
    /// The file cannot be written; the order is made in memory, as it will be at every load.
    case layoutNotKept(file: String, reason: String)

    /// Whether something is not as it should be.
    public var isWarning: Bool {
        switch self {
        case .buildingLayout: false
        case .rebuildingLayout, .layoutNotKept: true
        }
    }

    public var description: String {
        switch self {
        case .buildingLayout(let file): "Laying out the signs for this CPU, once: \(file)"
        case .rebuildingLayout(let file, let reason): "Making \(file) again: \(reason)"
        case .layoutNotKept(let file, let reason):
            "\(file) cannot be kept, so loading takes longer every time: \(reason)"
        }
    }
}
