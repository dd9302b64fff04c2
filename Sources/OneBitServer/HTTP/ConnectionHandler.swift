import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Ends connections that Hummingbird would keep: it looks at the request's `Connection: close` alone, not at an answer's nor at the
/// version, and takes the bytes of a body that no route reads for as long as they come.
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
        // The version of a request is known in front of the conversion to version-independent types.
        let pipeline = context.pipeline.syncOperations
        do {
            let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(EarlierVersionHandler(), position: .after(decoder))
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

/// Adds to requests of HTTP/1.0 what they mean: that the connection ends behind the answer (RFC 9112, section 9.3). Clients such as
/// ApacheBench wait for that. `keep-alive`, with which they may ask for more, need not be granted.
private final class EarlierVersionHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data), head.version == .http1_0 else {
            return context.fireChannelRead(data)
        }
        head.headers.replaceOrAdd(name: "Connection", value: "close")
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }
}
