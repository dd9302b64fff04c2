import Foundation

/// A safetensors file from a header as text, right or wrong.
package func safetensors(header: String, data: [UInt8] = []) -> Data {
    safetensors(headerBytes: Array(header.utf8), data: data)
}

package func safetensors(headerBytes: [UInt8], headerLength: UInt64? = nil, data: [UInt8] = []) -> Data {
    let length = headerLength ?? UInt64(headerBytes.count)
    return withUnsafeBytes(of: length.littleEndian) { Data($0) } + headerBytes + data
}
