import Foundation
import Synchronization

/// An HTTP/1.1 server on loopback that answers what a test tells it to, byte by byte: also what no honest server would.
package final class MockServer: Sendable {
    package struct Request: Sendable {
        package let method: String
        /// Path and query, as they were sent.
        package let target: String
        /// By their names in lower case.
        package let headers: [String: String]
    }

    package struct Answer: Sendable {
        package var status: Int
        package var headers: [(String, String)]
        package var body: Data
        /// Bytes of the body after which the connection is cut; nil sends all.
        package var cutsAfter: Int?
        /// In place of everything else: what is sent before the connection is closed.
        package var raw: Data?
        /// Time before the answer begins.
        package var delay: Duration = .zero
        /// Without a length, in chunks.
        package var isChunked = false

        package init(_ status: Int = 200, headers: [(String, String)] = [], body: Data = Data()) {
            (self.status, self.headers, self.body) = (status, headers, body)
        }

        package static func raw(_ text: String) -> Answer {
            var answer = Answer()
            answer.raw = Data(text.utf8)
            return answer
        }
    }

    package let port: Int
    private let listener: Int32
    private let handler: @Sendable (Request) -> Answer
    private let seen = Mutex<[Request]>([])

    package var url: URL { URL(string: "http://127.0.0.1:\(port)")! }
    /// What it was asked for, in order.
    package var requests: [Request] { seen.withLock { $0 } }

    package init(_ handler: @escaping @Sendable (Request) -> Answer) throws {
        self.handler = handler
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(listener, pointer, length) == 0 && listen(listener, 64) == 0
                    && getsockname(listener, pointer, &length) == 0
            }
        }
        guard isBound else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        port = Int(UInt16(bigEndian: address.sin_port))
        self.listener = listener
        Thread.detachNewThread { [weak self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else { return }
                guard let self else {
                    close(connection)
                    return
                }
                Thread.detachNewThread {
                    self.serve(connection)
                    close(connection)
                }
            }
        }
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
        close(listener)
    }

    private func serve(_ connection: Int32) {
        // A client that keeps its connection and asks nothing more does not keep the thread.
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        while let request = Self.read(connection) {
            seen.withLock { $0.append(request) }
            let answer = handler(request)
            if answer.delay > .zero { Thread.sleep(forTimeInterval: answer.delay / .seconds(1)) }
            if let raw = answer.raw {
                _ = Self.send(raw, to: connection)
                return
            }
            var head = "HTTP/1.1 \(answer.status) Status\r\n"
            for (name, value) in answer.headers { head += "\(name): \(value)\r\n" }
            let hasLength = answer.headers.contains { $0.0.lowercased() == "content-length" }
            if answer.isChunked {
                head += "Transfer-Encoding: chunked\r\n"
            } else if !hasLength {
                head += "Content-Length: \(answer.body.count)\r\n"
            }
            var bytes = Data((head + "\r\n").utf8)
            let body = answer.cutsAfter.map { answer.body.prefix($0) } ?? answer.body
            if answer.isChunked {
                if !body.isEmpty {
                    bytes += Data("\(String(body.count, radix: 16))\r\n".utf8) + body + Data("\r\n".utf8)
                }
                if answer.cutsAfter == nil { bytes += Data("0\r\n\r\n".utf8) }
            } else {
                bytes += body
            }
            guard Self.send(bytes, to: connection), answer.cutsAfter == nil else { return }
        }
    }

    private static func read(_ connection: Int32) -> Request? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while !bytes.suffix(4).elementsEqual([13, 10, 13, 10]) {
            guard bytes.count < 1 << 16, recv(connection, &byte, 1, 0) == 1 else { return nil }
            bytes.append(byte)
        }
        let lines = String(decoding: bytes, as: UTF8.self).components(separatedBy: "\r\n")
        let start = lines[0].split(separator: " ").map(String.init)
        guard start.count == 3 else { return nil }
        let headers = lines.dropFirst().compactMap { line -> (String, String)? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            return (
                line[..<colon].lowercased(), line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
            )
        }
        return Request(
            method: start[0], target: start[1], headers: Dictionary(headers, uniquingKeysWith: { $0 + ", " + $1 }))
    }

    private static func send(_ data: Data, to connection: Int32) -> Bool {
        data.withUnsafeBytes { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = Foundation.send(
                    connection, bytes.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
                guard count > 0 else { return false }
                sent += count
            }
            return true
        }
    }
}
