import Foundation
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Serves until the task is cancelled, and then until the answers under way are done, or their time is up.
///
/// - Parameters:
///   - address: a port of 0 lets the system choose.
///   - headTime: how long the head of a request may take to arrive.
///   - bodyTime: how long the body of a request may take to arrive, behind which nobody answers it.
///   - drainTime: how long answers under way may go on once the server is to end.
///   - mostConnections: those that are open at a time; others wait. Any number where nil.
///   - onReady: called with the port, once it listens.
///   - onEnd: called when the server is to end: streams that would go on for ever have to be told.
/// - Throws: ``ListenError``
func serve(
    _ router: Router<ServerContext>, address: (host: String, port: Int), headTime: Duration, bodyTime: Duration,
    drainTime: Duration, mostConnections: Int? = nil, onReady: @escaping @Sendable (_ port: Int) -> Void,
    onEnd: @escaping @Sendable () async -> Void = {}
) async throws {
    var logger = Logger(label: "onebit.server") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = .error
    // Everything but the waiting is done by the engine's threads and Swift's own.
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let application = Application(
        router: router,
        server: .http1(
            configuration: .init(
                additionalChannelHandlers: [ConnectionHandler(requestTime: bodyTime)], idleTimeout: TimeAmount(headTime)
            )),
        configuration: ApplicationConfiguration(
            // Clients that come at once wait here and not for the next try of their own, a second later.
            address: .hostname(address.host, port: address.port), serverName: "onebit", backlog: 1024,
            availableConnectionsDelegate: mostConnections.map { MaximumAvailableConnections($0) }),
        onServerRunning: { channel in onReady(channel.localAddress?.port ?? address.port) },
        eventLoopGroupProvider: .shared(group), logger: logger)
    var configuration = ServiceGroupConfiguration(services: [application], logger: logger)
    configuration.maximumGracefulShutdownDuration = drainTime
    let services = ServiceGroup(configuration: configuration)
    // Not a child of this task: that is cancelled when answers under way are still to be finished.
    let running = Task { try await services.run() }
    let result = await withTaskCancellationHandler {
        await running.result
    } onCancel: {
        Task {
            await onEnd()
            await services.triggerGracefulShutdown()
        }
    }
    try await group.shutdownGracefully()
    do {
        try result.get()
    } catch {
        throw ListenError(error, host: address.host, port: address.port) ?? error
    }
}

/// A server that does not come up.
public enum ListenError: LocalizedError, Sendable, Equatable {
    case addressInUse(address: String)
    case unknownHost(address: String)
    /// Whatever else the system has against an address.
    case refused(address: String, reason: String)

    init?(_ error: any Error, host: String, port: Int) {
        let address = "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        switch error {
        case let error as IOError where error.errnoCode == EADDRINUSE: self = .addressInUse(address: address)
        case let error as IOError: self = .refused(address: address, reason: String(cString: strerror(error.errnoCode)))
        case is SocketAddressError.UnknownHost: self = .unknownHost(address: address)
        default: return nil
        }
    }

    public var errorDescription: String? {
        switch self {
        case .addressInUse(let address): "\(address): another program listens there."
        case .unknownHost(let address): "\(address): this machine knows no such host."
        case .refused(let address, let reason): "\(address): cannot listen there: \(reason)."
        }
    }
}

/// What is known of a request's connection.
struct ServerContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

extension TimeAmount {
    init(_ duration: Duration) { self = .nanoseconds(Int64(duration / .nanoseconds(1))) }
}

/// Whether only this machine can reach an address.
func isLoopback(_ host: String) -> Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") }
