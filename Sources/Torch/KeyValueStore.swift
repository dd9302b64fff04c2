import CLibTorch
import Foundation

/// Where the processes of a group meet before they know each other, and leave each other short messages after: c10d's store.
///
/// Every call here is short, so that a thread that waits for a key holds up no other.
public final class KeyValueStore: Sendable {
    // Proof of Sendable: c10d's stores lock each call.
    nonisolated(unsafe) let handle: OpaquePointer
    /// For messages: `tcp://host:port`, `file:///path`.
    public let address: String

    private init(_ handle: OpaquePointer?, address: String) throws {
        guard let handle else { throw ProcessGroupError.last(in: "opening the store \(address)") }
        self.handle = handle
        self.address = address
    }

    deinit { lt_store_release(handle) }

    /// Calls of a store that cannot be answered at once fail after this time.
    private static let answerMilliseconds: Int32 = 30_000

    /// Opens the store that the others connect to.
    ///
    /// - Parameters:
    ///   - host: Name or address of this machine.
    ///   - port: 0 takes a free one.
    /// - Throws: ``ProcessGroupError/portInUse(host:port:)``, ``ProcessGroupError/failed(operation:reason:)``.
    public static func serving(host: String, port: Int) throws -> KeyValueStore {
        guard let handle = lt_store_tcp(host, Int32(port), true, answerMilliseconds) else {
            if lt_last_group_failure() == LT_GROUP_IN_USE { throw ProcessGroupError.portInUse(host: host, port: port) }
            throw ProcessGroupError.last(in: "opening the store tcp://\(host):\(port)")
        }
        return try KeyValueStore(handle, address: "tcp://\(host):\(lt_store_port(handle))")
    }

    /// Connects to a store that another process opens.
    ///
    /// - Parameters:
    ///   - host: Name or address of the machine that serves it.
    ///   - port: Where it is served there.
    ///   - limit: How long to wait for it to be there.
    /// - Throws: ``ProcessGroupError/unreachable(address:seconds:)``, `CancellationError`.
    public static func connecting(host: String, port: Int, limit: Duration) throws -> KeyValueStore {
        let deadline = ContinuousClock.now + limit
        while lt_reach(host, Int32(port), 500) != 1 {
            guard ContinuousClock.now < deadline else {
                throw ProcessGroupError.unreachable(address: "tcp://\(host):\(port)", seconds: limit.wholeSeconds)
            }
            try checkCancellation()
            usleep(50_000)
        }
        return try KeyValueStore(
            lt_store_tcp(host, Int32(port), false, answerMilliseconds), address: "tcp://\(host):\(port)")
    }

    /// A file that all processes see: on one machine, or a shared disk.
    ///
    /// - Parameters:
    ///   - url: The file.
    ///   - size: Processes in all; the last of them that ends removes the file.
    /// - Throws: ``ProcessGroupError/failed(operation:reason:)``.
    public static func file(_ url: URL, size: Int) throws -> KeyValueStore {
        // c10d would try for minutes to open a file that cannot be.
        let descriptor = open(url.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw ProcessGroupError.failed(
                operation: "opening the store file://\(url.path)", reason: String(cString: strerror(errno)))
        }
        close(descriptor)
        return try KeyValueStore(lt_store_file(url.path, Int32(size)), address: "file://\(url.path)")
    }

    /// A store between the threads of this process.
    public static func memory() throws -> KeyValueStore { try KeyValueStore(lt_store_memory(), address: "memory") }

    /// The port of a store over TCP.
    public var port: Int { Int(lt_store_port(handle)) }

    func set(_ key: String, _ value: String) throws {
        var value = value
        let status = value.withUTF8 { lt_store_set(handle, key, $0.baseAddress, $0.count) }
        if status != 0 { throw ProcessGroupError.last(in: "a message to the other ranks") }
    }

    /// The value of a key; nil as long as nobody has set it.
    func value(_ key: String) throws -> String? {
        let state = lt_store_has(handle, key)
        if state == 0 { return nil }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count =
            state < 0 ? -1 : bytes.withUnsafeMutableBytes { lt_store_get(handle, key, $0.baseAddress, $0.count) }
        guard count >= 0 else { throw ProcessGroupError.last(in: "a message from the other ranks") }
        return String(decoding: bytes.prefix(Int(count)), as: UTF8.self)
    }

    /// Counts up and returns the new count.
    func add(_ key: String, _ amount: Int) throws -> Int {
        var result: Int64 = 0
        guard lt_store_add(handle, key, Int64(amount), &result) == 0 else {
            throw ProcessGroupError.last(in: "a message to the other ranks")
        }
        return Int(result)
    }
}

extension Duration {
    var wholeSeconds: Int { Int(components.seconds) }
    var milliseconds: Int32 {
        Int32(clamping: components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
    }
}
