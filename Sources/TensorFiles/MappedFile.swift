import Foundation
import JSON

/// A file's bytes in memory, read by the kernel as they are touched.
///
/// The file must not shrink while it is mapped: the system ends a process that reads past the new end.
// Unchecked because of the pointer: the mapping is read-only, private, and lives exactly as long as the object.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    package let bytes: UnsafeRawBufferPointer
    private let modified: String

    /// Maps a regular, non-empty file.
    ///
    /// - Throws: `FileError`.
    package init(path: String) throws {
        self.path = path
        let (descriptor, status) = try openRegularFile(path)
        defer { close(descriptor) }
        modified = Self.modificationTime(status)
        let count = Int(status.st_size)
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw FileError.cannotRead(file: path, reason: FileError.systemReason)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: count)
    }

    /// Computed anew at each call: a file that is written to while it is mapped has another one.
    package var identity: FileIdentity {
        FileIdentity(byteCount: bytes.count, modified: modified, sample: FileIdentity.sample(of: bytes))
    }

    private static func modificationTime(_ status: stat) -> String {
        #if canImport(Darwin)
            let time = status.st_mtimespec
        #else
            let time = status.st_mtim
        #endif
        return "\(time.tv_sec).\(time.tv_nsec)"
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }

    /// Lets the system drop the pages of a range; they are read again when touched.
    ///
    /// So a pass over a model larger than memory keeps only the present tensor resident.
    package func release(_ range: Range<Int>) {
        guard let base = bytes.baseAddress else { return }
        let page = Int(getpagesize())
        // Whole pages inside the range: the edges belong to the neighbors too.
        let start = (range.lowerBound + page - 1) / page * page
        let end = range.upperBound / page * page
        guard start < end else { return }
        madvise(UnsafeMutableRawPointer(mutating: base + start), end - start, MADV_DONTNEED)
    }
}

/// What tells one file from another without reading all of it: size, time of the last change of its contents, and a hash of
/// samples of it.
///
/// Files of equal identity are taken to have equal contents. Those of unequal identity may have them too, since a plain copy
/// has another time: who needs to know must compare contents. Modes, owners, names, links and inodes are no part of it, so
/// `chmod`, `cp -a` and hard links leave it as it is. The samples are for volumes that keep no times, such as images in which
/// every file has the same.
package struct FileIdentity: Sendable, Hashable, CustomStringConvertible {
    package let byteCount: Int
    /// Seconds and nanoseconds since 1970.
    package let modified: String
    package let sample: UInt64

    init(byteCount: Int, modified: String, sample: UInt64) {
        self.byteCount = byteCount
        self.modified = modified
        self.sample = sample
    }

    /// - Throws: `FileError`.
    package init(of file: URL) throws { self = try MappedFile(path: file.path).identity }

    package var description: String { "\(byteCount) bytes, modified \(modified), sample \(String(sample, radix: 16))" }

    /// The hash of the first 64 KiB, which hold a header, and of 16 pages between there and the end.
    static func sample(of bytes: UnsafeRawBufferPointer) -> UInt64 {
        let (head, page, count) = (64 << 10, 4096, 16)
        guard bytes.count > head + count * page else { return xxHash64(bytes) }
        var hashes = [xxHash64(UnsafeRawBufferPointer(rebasing: bytes[..<head]))]
        for index in 1...count {
            let end = head + (bytes.count - head) / count * index
            hashes.append(xxHash64(UnsafeRawBufferPointer(rebasing: bytes[end - page..<end])))
        }
        return hashes.withUnsafeBytes { xxHash64($0) }
    }
}

/// XXH64 (Collet, xxHash specification 0.1.1) with seed 0.
package func xxHash64(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    let (prime1, prime2, prime3): (UInt64, UInt64, UInt64) = (
        0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9
    )
    let (prime4, prime5): (UInt64, UInt64) = (0x85EB_CA77_C2B2_AE63, 0x27D4_EB2F_1656_67C5)
    @inline(__always) func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
        value &<< count | value &>> (64 &- count)
    }
    @inline(__always) func round(_ lane: UInt64, _ word: UInt64) -> UInt64 {
        rotate(lane &+ word &* prime2, 31) &* prime1
    }
    @inline(__always) func word<Word: FixedWidthInteger>(_ offset: Int, _ type: Word.Type) -> UInt64 {
        UInt64(truncatingIfNeeded: Word(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type)))
    }

    var hash = prime5
    var offset = 0
    if bytes.count >= 32 {
        var (lane1, lane2, lane3, lane4) = (prime1 &+ prime2, prime2, UInt64(0), 0 &- prime1)
        while offset <= bytes.count - 32 {
            lane1 = round(lane1, word(offset, UInt64.self))
            lane2 = round(lane2, word(offset + 8, UInt64.self))
            lane3 = round(lane3, word(offset + 16, UInt64.self))
            lane4 = round(lane4, word(offset + 24, UInt64.self))
            offset += 32
        }
        hash = rotate(lane1, 1) &+ rotate(lane2, 7) &+ rotate(lane3, 12) &+ rotate(lane4, 18)
        for lane in [lane1, lane2, lane3, lane4] { hash = (hash ^ round(0, lane)) &* prime1 &+ prime4 }
    }
    hash &+= UInt64(bytes.count)
    while offset <= bytes.count - 8 {
        hash = rotate(hash ^ round(0, word(offset, UInt64.self)), 27) &* prime1 &+ prime4
        offset += 8
    }
    if offset <= bytes.count - 4 {
        hash = rotate(hash ^ word(offset, UInt32.self) &* prime1, 23) &* prime2 &+ prime3
        offset += 4
    }
    while offset < bytes.count {
        hash = rotate(hash ^ UInt64(bytes[offset]) &* prime5, 11) &* prime1
        offset += 1
    }
    hash = (hash ^ hash &>> 33) &* prime2
    hash = (hash ^ hash &>> 29) &* prime3
    return hash ^ hash &>> 32
}
