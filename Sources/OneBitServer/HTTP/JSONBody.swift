import Foundation
import HTTPTypes
import Hummingbird
import JSON
import NIOCore

extension Response {
    /// An answer in JSON.
    init(_ json: JSONValue, status: HTTPResponse.Status = .ok) {
        self.init(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: json.serialized())))
    }
}

/// Reads the body of a request, which has to be JSON.
///
/// - Returns: its object, and the request with its body in memory, from which the connection can be watched.
/// - Throws: ``APIError``, `JSONNodeError`.
func readJSON(of request: Request, settings: ServerSettings) async throws -> (object: JSONNode, request: Request) {
    let type = request.headers[.contentType]?.split(separator: ";").first?.trimmingCharacters(in: .whitespaces)
    // A page of another origin can send other types without asking first (Fetch, section 2.2.2).
    guard type?.lowercased() == "application/json" else {
        throw APIError(
            status: .unsupportedMediaType, message: "Send JSON, as Content-Type: application/json.",
            code: "unsupported_media_type")
    }
    if let encoding = request.headers[.contentEncoding], encoding.lowercased() != "identity" {
        throw APIError(
            status: .unsupportedMediaType,
            message: "Send the body as it is, not in the encoding \(encoding.prefix(50)).",
            code: "unsupported_content_encoding")
    }
    let tooLarge = APIError(
        status: .contentTooLarge, message: "The body is larger than \(settings.largestBody) bytes.",
        code: "body_too_large")
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > settings.largestBody {
        throw tooLarge
    }
    var request = request
    let buffer: ByteBuffer
    do {
        let body = request.body
        // Each part that comes would begin an idle time anew: the whole has a time of its own.
        buffer = try await within(settings.bodyTime) { try await body.collect(upTo: settings.largestBody) }
    } catch is NIOTooManyBytesError {
        throw tooLarge
    } catch is TimeLimitExceeded {
        throw APIError(status: .requestTimeout, message: "The body did not arrive in time.", code: "request_timeout")
    }
    request.body = RequestBody(buffer: buffer)
    let node = try buffer.withUnsafeReadableBytes {
        try JSONNode(parsing: $0, file: "body", duplicateKeys: .lastCounts)
    }
    guard case .object = node.value else { throw APIError.badRequest("The body has to be a JSON object.") }
    return (node, request)
}

struct TimeLimitExceeded: Error {}

/// Runs an operation that has to end within a time.
///
/// - Throws: ``TimeLimitExceeded``, and what it throws.
func within<Result: Sendable>(
    _ time: Duration, _ operation: @escaping @Sendable () async throws -> Result
) async throws -> Result {
    try await withThrowingTaskGroup(of: Result.self) { group in
        group.addTask(operation: operation)
        group.addTask {
            try await Task.sleep(for: time)
            throw TimeLimitExceeded()
        }
        defer { group.cancelAll() }
        return try await group.next()!
    }
}
