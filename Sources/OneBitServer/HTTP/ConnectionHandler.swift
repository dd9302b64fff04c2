import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Ends connections that Hummingbird would keep: it looks at the request's `Connection: close` alone, and takes the bytes of a body that
/// no route reads for as long as they come. In front of the conversion to version-independent types it puts a handler for what these
/// leave out.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// How long a request may take from its head to its end.
    private let requestTime: TimeAmount
    private var deadline: Scheduled<Void>?
    private var closesBehindAnswer = false
    /// Whether the answer that ends the connection is sent.
    private var hasEnded = false

    /// How long what a client still sends is taken and dropped, so that it sees the answer and no reset (RFC 9112, section 9.6).
    private static let lingering = TimeAmount.seconds(2)

    init(requestTime: Duration) { self.requestTime = TimeAmount(requestTime) }

    func handlerAdded(context: ChannelHandlerContext) {
        let pipeline = context.pipeline.syncOperations
        do {
            let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(RequestHeadHandler(), position: .after(decoder))
        } catch {
            context.fireErrorCaught(error)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasEnded else { return }
        switch unwrapInboundIn(data) {
        case .head: deadline = close(context, in: requestTime)
        case .body: break
        case .end: deadline?.cancel()
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(let head):
            closesBehindAnswer = head.headerFields[.connection]?.lowercased() == "close"
            context.write(data, promise: promise)
        case .body: context.write(data, promise: promise)
        case .end where closesBehindAnswer:
            hasEnded = true
            deadline?.cancel()
            context.writeAndFlush(data, promise: promise)
            context.close(mode: .output, promise: nil)
            deadline = close(context, in: Self.lingering)
        case .end: context.write(data, promise: promise)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        context.fireChannelInactive()
    }

    private func close(_ context: ChannelHandlerContext, in time: TimeAmount) -> Scheduled<Void> {
        let channel = context.channel
        return context.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
    }
}

/// Sees to what the version-independent types of requests and answers leave out.
private final class RequestHeadHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private var version = HTTPVersion.http1_1

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data) else { return context.fireChannelRead(data) }
        version = head.version
        // Of several hosts none is meant (RFC 9112, section 3.2).
        if head.headers["Host"].count > 1 { head.headers.remove(name: "Host") }
        // HTTP/1.0 means that the connection ends behind the answer (RFC 9112, section 9.3); clients such as ApacheBench wait for
        // that. `keep-alive`, with which they may ask for more, need not be granted.
        let options = head.headers[canonicalForm: "Connection"].map { $0.lowercased() }
        if head.version == .http1_0 || options.contains("close") {
            head.headers.replaceOrAdd(name: "Connection", value: "close")
        }
        // The client waits with its body (RFC 9110, section 10.1.1).
        if head.version != .http1_0, head.headers["Expect"].contains(where: { $0.lowercased() == "100-continue" }) {
            let answer = HTTPResponseHead(version: .http1_1, status: .continue)
            context.writeAndFlush(wrapOutboundOut(.head(answer)), promise: nil)
        }
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .head(var head) = unwrapOutboundIn(data) else { return context.write(data, promise: promise) }
        // HTTP/1.0 knows no chunks; a body of unknown length goes on to the end of the connection (RFC 9112, section 6.1).
        if version == .http1_0 { head.version = .http1_0 }
        context.write(wrapOutboundOut(.head(head)), promise: promise)
    }
}
