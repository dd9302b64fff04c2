import Foundation
import HTTPTypes
import Hummingbird
import JSON
import LanguageModel
import Tokenization

/// A refusal in the form of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`.
struct APIError: Error {
    var status: HTTPResponse.Status
    var message: String
    var type = "invalid_request_error"
    /// The field of the request that is wrong.
    var parameter: String?
    var code: String?
    /// Further members of the error.
    var details: [(String, JSONValue)] = []
    var headers = HTTPFields()

    static func badRequest(_ message: String, parameter: String? = nil, code: String? = nil) -> APIError {
        APIError(status: .badRequest, message: message, parameter: parameter, code: code)
    }

    /// A value outside what is allowed; the node knows its name.
    static func invalid(_ node: JSONNode, _ expected: String) -> APIError {
        badRequest(
            "\(node.path): expected \(expected), found \(node.value?.summary ?? "nothing").", parameter: node.path)
    }

    static func contextExceeded(tokens: Int, context: Int, parameter: String) -> APIError {
        APIError(
            status: .badRequest,
            message: "The prompt has \(tokens) tokens, more than the context of \(context). Shorten it.",
            type: "exceed_context_size_error", parameter: parameter, code: "context_length_exceeded",
            details: [("n_prompt_tokens", .integer(tokens)), ("n_ctx", .integer(context))])
    }

    static func unknownModel(_ name: String, known: String) -> APIError {
        APIError(
            status: .notFound, message: "There is no model \(name.prefix(100)); this server has \(known).",
            parameter: "model", code: "model_not_found")
    }

    static func methodNotAllowed(allowed: String) -> APIError {
        var error = APIError(
            status: .methodNotAllowed, message: "That method is not allowed here. Allowed: \(allowed).",
            code: "method_not_allowed")
        error.headers[.allow] = allowed
        return error
    }

    static let unauthorized: APIError = {
        var error = APIError(
            status: .unauthorized, message: "A valid key is needed: Authorization: Bearer KEY.",
            type: "authentication_error",
            code: "invalid_api_key")
        error.headers[.wwwAuthenticate] = "Bearer"
        return error
    }()

    static let queueFull: APIError = {
        var error = APIError(
            status: .serviceUnavailable, message: "Too many texts are waiting. Try again in a moment.",
            type: "overloaded_error", code: "queue_full")
        error.headers[.retryAfter] = "1"
        return error
    }()

    static let shuttingDown = APIError(
        status: .serviceUnavailable, message: "The server is shutting down.", type: "overloaded_error",
        code: "shutting_down")

    /// What became of a request, as the API tells it.
    init(_ error: any Error) {
        switch error {
        case let error as APIError: self = error
        case let error as JSONNodeError:
            self = .badRequest(
                error.key.isEmpty ? "The body: \(error.reason)." : "\(error.key): \(error.reason).",
                parameter: error.key.isEmpty ? nil : error.key)
        case GenerationError.promptTooLong(let tokens, let maximum):
            self = .contextExceeded(tokens: tokens, context: maximum, parameter: "prompt")
        case LanguageModelError.notEnoughMemory(let needed, let available, _):
            self = .badRequest(
                "The prompt and the tokens asked for would take \(needed) bytes of keys and values; this server has "
                    + "\(available). Ask for fewer tokens.", parameter: "max_tokens", code: "not_enough_memory")
        case is GenerationError, is LanguageModelError, is ChatTemplateError, is ChatSessionError, is TokenizerError:
            // Where the model's files are concerns nobody.
            let message = error.localizedDescription.replacing(/(^|[\s"(])\/(?:[^\/:"\n]+\/)+/) { $0.output.1 }
            self = .badRequest(message)
        case let error as HTTPError:
            self.init(
                status: error.status,
                message: error.body ?? Self.explanation(of: error.status),
                type: error.status == .notFound ? "not_found_error" : "invalid_request_error")
        case is CancellationError:
            // Nobody reads it any more; nginx's number for that.
            self.init(status: .init(code: 499, reasonPhrase: "Client Closed Request"), message: "The client left.")
        default:
            // Nothing of the inside goes out.
            self.init(status: .internalServerError, message: "The server failed.", type: "server_error")
        }
    }

    private init(status: HTTPResponse.Status, message: String, type: String) {
        (self.status, self.message, self.type) = (status, message, type)
    }

    init(
        status: HTTPResponse.Status, message: String, type: String = "invalid_request_error", parameter: String? = nil,
        code: String? = nil, details: [(String, JSONValue)] = []
    ) {
        (self.status, self.message, self.type) = (status, message, type)
        (self.parameter, self.code, self.details) = (parameter, code, details)
    }

    private static func explanation(of status: HTTPResponse.Status) -> String {
        switch status {
        case .notFound: "There is no such address. The API begins at /v1."
        default: status.reasonPhrase
        }
    }

    var json: JSONValue {
        let members: [(String, JSONValue)] = [
            ("message", .string(message)), ("type", .string(type)), ("param", parameter.map { .string($0) } ?? .null),
            ("code", code.map { .string($0) } ?? .integer(status.code)),
        ]
        return .object(JSONObject([("error", .object(JSONObject(members + details)))]))
    }

    var response: Response {
        var response = Response(json, status: status)
        response.headers.append(contentsOf: headers)
        return response
    }
}

extension HTTPFields {
    fileprivate mutating func append(contentsOf others: HTTPFields) {
        for field in others { append(field) }
    }
}
