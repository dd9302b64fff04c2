import ArgumentParser

/// An amount of memory on the command line: bytes, or with a unit of 1,024: 512M, 1.5G, 4GiB.
struct ByteSize: ExpressibleByArgument {
    let bytes: Int

    init?(argument: String) {
        let number = argument.prefix { $0.isNumber || $0 == "." }
        let unit = argument.dropFirst(number.count).lowercased()
        guard let power = ["", "k", "m", "g", "t"].firstIndex(where: { [$0, $0 + "b", $0 + "ib"].contains(unit) }),
            let count = Double(number), count > 0
        else { return nil }
        var bytes = count
        for _ in 0..<power { bytes *= 1024 }
        guard bytes >= 1, bytes < 0x1p62 else { return nil }
        self.bytes = Int(bytes)
    }
}
