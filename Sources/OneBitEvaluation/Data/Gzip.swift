import CZlib
import Foundation

/// Whether bytes begin as a gzip file does.
func isGzip(_ data: Data) -> Bool { data.starts(with: [0x1F, 0x8B]) }

/// The contents of a gzip file (RFC 1952), all its members one after the other, their checksums compared.
///
/// - Parameter limit: bytes that the contents may have: a file of a megabyte can unfold to a gigabyte.
/// - Throws: ``TaskDataError/damagedGzip(file:reason:)``, ``TaskDataError/unzippedTooLarge(file:limit:)``
func unzipped(_ data: Data, file: String, limit: Int) throws -> Data {
    func damaged(_ reason: String) -> TaskDataError { .damagedGzip(file: file, reason: reason) }
    // zlib counts a buffer's bytes in 32 bits.
    guard data.count <= Int(UInt32.max) else { throw damaged("longer than 4 GiB") }
    let gzipOnly: Int32 = 16
    var stream = z_stream()
    guard
        inflateInit2_(&stream, MAX_WBITS + gzipOnly, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
    else { throw damaged("zlib does not start") }
    defer { inflateEnd(&stream) }

    var output = Data()
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    try data.withUnsafeBytes { input in
        stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
        stream.avail_in = UInt32(input.count)
        while true {
            let status = chunk.withUnsafeMutableBufferPointer { buffer in
                stream.next_out = buffer.baseAddress
                stream.avail_out = UInt32(buffer.count)
                return inflate(&stream, Z_NO_FLUSH)
            }
            let count = chunk.count - Int(stream.avail_out)
            guard count <= limit - output.count else {
                throw TaskDataError.unzippedTooLarge(file: file, limit: limit)
            }
            output.append(contentsOf: chunk[..<count])
            switch status {
            case Z_OK: continue
            case Z_STREAM_END:
                guard stream.avail_in > 0 else { return }
                inflateReset(&stream)  // the next member
            case Z_BUF_ERROR: throw damaged("it breaks off")
            default: throw damaged(stream.msg.map { String(cString: $0) } ?? "zlib error \(status)")
            }
        }
    }
    return output
}
