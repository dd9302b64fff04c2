import CSignKernels
import Foundation

/// The dispatch table of one instruction set's kernels.
typealias Kernels = UnsafePointer<sign_kernels_table>

/// One instruction set's version of the kernels. Whichever is used, a packed model gives the same logits, bit for bit.
// Unchecked because of the pointer: it leads to a constant table of functions.
public struct InstructionSet: @unchecked Sendable, CustomStringConvertible {
    /// The environment variable that overrides the choice.
    public static let environmentVariable = "ONEBIT_INSTRUCTION_SET"

    let kernels: Kernels

    var layout: SignLayout { SignLayout(kernels.pointee.layout) }

    /// Its name, as ``environmentVariable`` takes it.
    public var name: String { String(cString: kernels.pointee.name) }
    public var description: String { name }

    /// The version called `name`.
    ///
    /// - Throws: ``InstructionSetError`` when there is none of that name or when this CPU cannot run it.
    public init(named name: String) throws {
        guard Self.knownNames.contains(name) else {
            throw InstructionSetError.unknown(name: name, known: Self.available.map(\.name))
        }
        guard let kernels = sign_kernels_find(name) else {
            throw InstructionSetError.unsupported(name: name, available: Self.available.map(\.name))
        }
        self.kernels = kernels
    }

    /// The version that the environment asks for, otherwise the best that this CPU can run.
    ///
    /// - Throws: ``InstructionSetError``
    public static func selected(
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws -> InstructionSet {
        if let name = environment[environmentVariable], !name.isEmpty { return try InstructionSet(named: name) }
        return available[0]
    }

    /// The versions that this CPU can run, best first; the portable one is always the last.
    public static var available: [InstructionSet] {
        knownNames.compactMap { sign_kernels_find($0) }.map(InstructionSet.init(kernels:))
    }

    /// The versions that were built, best first.
    private static var knownNames: [String] {
        var names: [String] = []
        while let name = sign_kernels_known_name(names.count) { names.append(String(cString: name)) }
        return names
    }

    private init(kernels: Kernels) {
        self.kernels = kernels
    }
}

/// The order in which an instruction set's kernels read the bits of a sign matrix.
// Unchecked because of the pointer: it leads to constants and functions.
struct SignLayout: @unchecked Sendable {
    private let layout: UnsafePointer<sign_kernels_layout>

    init(_ layout: UnsafePointer<sign_kernels_layout>) {
        self.layout = layout
    }

    /// Names the order for good; cache files are named after it.
    var name: String { String(cString: layout.pointee.name) }
    /// Rows of a tile, the unit that kernels work on.
    var tileRows: Int { layout.pointee.tile_rows }

    func tileCount(rows: Int) -> Int { (rows + tileRows - 1) / tileRows }

    /// Quadruples of column groups.
    func quadCount(columns: Int) -> Int {
        let columnsPerQuad = 4 * layout.pointee.group_columns
        return (columns + columnsPerQuad - 1) / columnsPerQuad
    }

    /// Bytes of a whole matrix.
    func byteCount(rows: Int, columns: Int) -> Int {
        layout.pointee.byte_count(rows, columns, tileCount(rows: rows))
    }

    /// Writes some tiles of a matrix to their places in `packed`, the whole matrix's first byte.
    func pack(_ matrix: sign_kernels_matrix, tiles: Range<Int>, to packed: UnsafeMutablePointer<UInt8>) {
        layout.pointee.pack(matrix, tiles.lowerBound, tiles.upperBound, packed)
    }
}

/// An instruction set was asked for that this machine does not have.
public enum InstructionSetError: LocalizedError, Equatable {
    /// No kernels of this name were built.
    case unknown(name: String, known: [String])
    /// The CPU or the operating system lacks what these kernels need.
    case unsupported(name: String, available: [String])

    public var errorDescription: String? {
        switch self {
        case .unknown(let name, let known):
            "\(InstructionSet.environmentVariable): unknown instruction set \"\(name)\"; "
                + "this machine can run \(known.joined(separator: ", "))."
        case .unsupported(let name, let available):
            "\(InstructionSet.environmentVariable): this machine cannot run \"\(name)\"; "
                + "it can run \(available.joined(separator: ", "))."
        }
    }
}
