import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import JSON
import NIOCore
import NIOHTTP1

/// How a page that is watched is reached. The defaults are safe for one's own machine.
public struct WatchSettings: Sendable {
    /// The address that it listens on.
    public var host = "127.0.0.1"
    /// 0 lets the system choose.
    public var port = 8090
    /// Names, besides those of this machine, by which browsers may reach it.
    public var allowedHosts: [String] = []
    /// Streams at a time; more are turned away with 503.
    public var mostWatchers = 64
    /// Between two looks at what is watched.
    public var interval: Duration = .seconds(1)
    /// How long a client may leave what it is sent unread.
    public var readingTime: Duration = .seconds(60)

    public init() {}

    /// Whether only this machine can reach it.
    public var isLoopback: Bool { OneBitServer.isLoopback(host) }
}

/// Serves a page that keeps itself up to date: `/`, and `/events` with what changes in it as server-sent events
/// (WHATWG HTML, section 9.2).
///
/// An event holds the sections of the page that differ from those that its client was sent before. Its id begins with the number
/// of lines that were read; who comes back with the newest id (`Last-Event-ID`) is sent nothing before something changes.
public struct WatchServer: Sendable {
    /// A page: its HTML, whose style and script are the only ones that it may have.
    public struct Page: Sendable {
        let html: String
        let style: String

        public init(html: String, style: String) {
            self.html = html
            self.style = style
        }
    }

    private let settings: WatchSettings
    private let feed: WatchFeed
    private let page: @Sendable (_ picture: WatchPicture, _ id: String, _ script: String) -> Page

    /// - Parameters:
    ///   - settings: where it listens and how many may watch.
    ///   - page: the page with a picture in it. It has to hold the script as it is, elements with the ids `connection` and
    ///     `age`, the latter with the picture's id as `data-picture` and its age, where it has one, as `data-age`, and an
    ///     element for each section.
    ///   - look: the picture as it is now; called once an interval while someone watches, and for each page.
    public init(
        settings: WatchSettings,
        page: @escaping @Sendable (_ picture: WatchPicture, _ id: String, _ script: String) -> Page,
        look: @escaping @Sendable () async -> WatchPicture
    ) {
        self.settings = settings
        self.page = page
        feed = WatchFeed(settings: settings, look: look)
    }

    /// Serves until the task is cancelled.
    ///
    /// - Parameter onReady: called with the port, once it listens.
    /// - Throws: ``ListenError``
    public func run(onReady: @escaping @Sendable (_ port: Int) -> Void) async throws {
        try await serve(
            router(), address: (settings.host, settings.port), headTime: .seconds(10), bodyTime: .seconds(10),
            drainTime: .milliseconds(500),
            // Whoever opens more waits for others to leave.
            mostConnections: settings.mostWatchers * 2, onReady: onReady, onEnd: { [feed] in await feed.end() })
    }

    private func router() -> Router<ServerContext> {
        let router = Router(context: ServerContext.self, options: .autoGenerateHeadEndpoints)
        router.add(middleware: PageErrorMiddleware())
        router.add(
            middleware: HostMiddleware(
                isLoopback: settings.isLoopback, allowedHosts: settings.allowedHosts))
        router.add(middleware: ReadOnlyMiddleware())
        router.get("/") { [self] _, _ in
            let entry = await feed.current()
            let page = page(entry.picture, entry.id, Self.script)
            return Response(
                status: .ok,
                headers: [
                    .contentType: "text/html; charset=utf-8", .cacheControl: "no-store",
                    .contentSecurityPolicy: Self.policy(style: page.style),
                    HTTPField.Name("Referrer-Policy")!: "no-referrer",
                ], body: ResponseBody(byteBuffer: ByteBuffer(string: page.html)))
        }
        router.get("/events") { [self] request, context in try await events(request, context) }
        return router
    }

    private func events(_ request: Request, _ context: ServerContext) async throws -> Response {
        guard await !feed.isFull else {
            var error = APIError(status: .serviceUnavailable, message: "Too many watch already.")
            error.headers[.retryAfter] = "5"
            throw error
        }
        let seen =
            request.headers[HTTPField.Name("Last-Event-ID")!] ?? request.uri.queryParameters["after"].map(String.init)
        let body = ResponseBody { [feed] writer in
            let watcher = WatchFeed.Watcher(channel: context.channel)
            do {
                try await request.body.consumeWithCancellationOnInboundClose { _ in
                    var client = Client(seen: seen, newest: await feed.add(watcher))
                    // The head goes out, and the browser knows that it is connected.
                    try await watcher.write { try await writer.write(ByteBuffer(string: ": hello\n\n")) }
                    for await entry in watcher.entries {
                        guard let event = client.event(for: entry) else { continue }
                        try await watcher.write { try await writer.write(ByteBuffer(string: event)) }
                    }
                }
            } catch {
                await feed.remove(watcher)
                throw error
            }
            await feed.remove(watcher)
            try await writer.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-store",
                // Watching for a client that leaves takes the rest of the connection.
                .connection: "close",
            ], body: body)
    }

    /// What a client has been sent.
    private struct Client {
        private var seen: String?
        private var sections: [String: String]?
        private var lastWrite = ContinuousClock.now

        /// Between two signs of life.
        private static let silence = Duration.seconds(15)

        init(seen: String?, newest: WatchFeed.Entry?) {
            self.seen = seen
            if let newest, newest.id == seen { sections = Self.sections(of: newest) }
        }

        private static func sections(of entry: WatchFeed.Entry) -> [String: String] {
            Dictionary(uniqueKeysWithValues: entry.picture.sections.map { ($0.id, $0.html) })
        }

        /// What to write: what has changed, or a comment after a long silence, or nothing.
        mutating func event(for entry: WatchFeed.Entry) -> String? {
            let sections = Self.sections(of: entry)
            if entry.id == seen {
                self.sections = sections
                guard .now - lastWrite > Self.silence else { return nil }
                lastWrite = .now
                return ": still here\n\n"
            }
            let changed = entry.picture.sections.filter { self.sections?[$0.id] != $0.html }
            (seen, self.sections, lastWrite) = (entry.id, sections, .now)
            let data = JSONValue.object(
                JSONObject([
                    ("title", .string(entry.picture.title)),
                    ("age", entry.picture.age.map { .number($0) } ?? .null),
                    ("sections", .object(JSONObject(changed.map { ($0.id, .string($0.html)) }))),
                ]))
            return "id: \(entry.id)\ndata: \(data.serialized())\n\n"
        }
    }

    // MARK: What the page may do

    /// Nothing is loaded; one script and one style run, by their hashes (CSP 3, section 2.3.1); only the stream is connected to.
    private static func policy(style: String) -> String {
        func hash(_ text: String) -> String {
            "'sha256-\(Data(SHA256.hash(data: Data(text.utf8))).base64EncodedString())'"
        }
        return "default-src 'none'; script-src \(hash(script)); style-src \(hash(style)); connect-src 'self'; "
            + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    }

    /// Puts what changes in its place: within one frame, with what is open left open and what is scrolled left where it is. The
    /// parser of `DOMParser` runs no scripts, and the page's policy would not let them.
    static let script = #"""
        "use strict";
        const connection = document.getElementById("connection"), note = document.getElementById("age");
        let picture = note.dataset.picture, heard = performance.now();
        let age = note.dataset.age === undefined ? null : Number(note.dataset.age);
        function replace(id, html) {
          const section = document.getElementById(id);
          if (!section) return;
          const open = [...section.querySelectorAll("details")].map(element => element.open);
          const scrolled = [...section.querySelectorAll(".scroll")].map(element => element.scrollLeft);
          section.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
          section.querySelectorAll("details").forEach((element, index) => { element.open = open[index] === true; });
          section.querySelectorAll(".scroll").forEach((element, index) => { element.scrollLeft = scrolled[index] || 0; });
        }
        function showAge() {
          const seconds = age === null ? null : Math.floor(age + (performance.now() - heard) / 1000);
          note.textContent = seconds === null ? "" : "· last written " + (seconds < 2 ? "now"
            : seconds < 120 ? seconds + " s ago" : seconds < 7200 ? Math.floor(seconds / 60) + " min ago"
            : Math.floor(seconds / 3600) + " h ago");
        }
        function connect() {
          const source = new EventSource("events?after=" + encodeURIComponent(picture));
          source.onopen = () => { connection.textContent = "live"; };
          source.onmessage = event => {
            const update = JSON.parse(event.data);
            picture = event.lastEventId;
            document.title = update.title;
            age = update.age;
            heard = performance.now();
            for (const [id, html] of Object.entries(update.sections)) replace(id, html);
            showAge();
          };
          source.onerror = () => {
            connection.textContent = "not connected, trying again";
            if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
          };
        }
        connect();
        showAge();
        setInterval(showAge, 1000);
        """#
}

/// Turns what goes wrong into a line of text, and says of every answer that it is what it says to be.
struct PageErrorMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error as HTTPParserError {
            throw error
        } catch {
            let refusal = APIError(error)
            let text = refusal.status == .notFound ? "There is nothing here but /." : refusal.message
            response = Response(
                status: refusal.status, headers: refusal.headers,
                body: ResponseBody(byteBuffer: ByteBuffer(string: text + "\n")))
            response.headers[.contentType] = "text/plain; charset=utf-8"
            response.headers[.connection] = "close"
        }
        response.headers[.xContentTypeOptions] = "nosniff"
        return response
    }
}

/// Lets nobody do anything but read.
struct ReadOnlyMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: ServerContext, next: (Request, ServerContext) async throws -> Response
    ) async throws -> Response {
        guard [.get, .head].contains(request.method) else {
            var error = APIError(status: .methodNotAllowed, message: "This page is only read: GET, HEAD.")
            error.headers[.allow] = "GET, HEAD"
            throw error
        }
        return try await next(request, context)
    }
}
