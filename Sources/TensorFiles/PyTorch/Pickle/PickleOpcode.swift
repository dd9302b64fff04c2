/// The instructions of Python's pickle machine that a state dictionary is written with, protocols 2 to 5.
///
/// Names as in Python's `pickletools`. The rest, among them all that make objects of classes, are refused.
enum PickleOpcode: UInt8 {
    /// Version of the protocol, one byte.
    case proto = 0x80
    /// Length of what follows, eight bytes; a hint for readers of streams.
    case frame = 0x95
    /// The result is on the stack.
    case stop = 0x2E

    case none = 0x4E
    case newTrue = 0x88
    case newFalse = 0x89
    /// Four bytes, signed.
    case binInt = 0x4A
    /// One byte, unsigned.
    case binInt1 = 0x4B
    /// Two bytes, unsigned.
    case binInt2 = 0x4D
    /// One byte of length, then as many of a two's complement number.
    case long1 = 0x8A
    /// Eight bytes, big-endian.
    case binFloat = 0x47
    /// UTF-8 behind a length of four bytes.
    case binUnicode = 0x58
    /// UTF-8 behind a length of one byte.
    case shortBinUnicode = 0x8C
    /// UTF-8 behind a length of eight bytes.
    case binUnicode8 = 0x8D

    /// Marks the place on the stack from which the next of `tuple`, `appends`, `setItems` takes.
    case mark = 0x28
    case emptyTuple = 0x29
    case tuple1 = 0x85
    case tuple2 = 0x86
    case tuple3 = 0x87
    case tuple = 0x74
    case emptyList = 0x5D
    case append = 0x61
    case appends = 0x65
    case emptyDict = 0x7D
    case setItem = 0x73
    case setItems = 0x75

    /// Names the top of the stack by a number of one byte.
    case binPut = 0x71
    /// The same by a number of four bytes.
    case longBinPut = 0x72
    /// The same by the number of names so far.
    case memoize = 0x94
    /// Pushes what has a number of one byte.
    case binGet = 0x68
    /// Pushes what has a number of four bytes.
    case longBinGet = 0x6A

    /// A function or class: module and name, a line each.
    case global = 0x63
    /// The same, module and name from the stack.
    case stackGlobal = 0x93
    /// Calls a function with a tuple of arguments.
    case reduce = 0x52
    /// Gives an object its attributes.
    case build = 0x62
    /// Something outside the pickle, a storage, by its id from the stack.
    case binPersId = 0x51
}
