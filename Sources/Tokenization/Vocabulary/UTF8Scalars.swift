/// Number of bytes of the scalar that begins with `byte`, in valid UTF-8.
@inline(__always)
func utf8Length(ofLeadingByte byte: UInt8) -> Int {
    switch byte {
    case 0..<0x80: 1
    case 0x80..<0xE0: 2
    case 0xE0..<0xF0: 3
    default: 4
    }
}

/// The scalar that begins at `position` of valid UTF-8, and its length in bytes.
@inline(__always)
func utf8Scalar(in bytes: UnsafeBufferPointer<UInt8>, at position: Int) -> (scalar: Unicode.Scalar, length: Int) {
    let first = UInt32(bytes[position])
    func continuation(_ offset: Int) -> UInt32 { UInt32(bytes[position + offset] & 0x3F) }
    let length = utf8Length(ofLeadingByte: bytes[position])
    let value: UInt32 =
        switch length {
        case 1: first
        case 2: (first & 0x1F) << 6 | continuation(1)
        case 3: (first & 0x0F) << 12 | continuation(1) << 6 | continuation(2)
        default: (first & 0x07) << 18 | continuation(1) << 12 | continuation(2) << 6 | continuation(3)
        }
    return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
}

/// The scalar that ends before `position` of valid UTF-8, and its length in bytes.
func utf8Scalar(in bytes: UnsafeBufferPointer<UInt8>, before position: Int) -> (scalar: Unicode.Scalar, length: Int) {
    var start = position - 1
    while start > 0, bytes[start] & 0xC0 == 0x80 { start -= 1 }
    return utf8Scalar(in: bytes, at: start)
}
