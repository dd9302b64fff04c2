import ArgumentParser
import Foundation
import HTMLReports
import OneBitServer
import OneBitTraining

struct WatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Show a training in a browser while it runs.",
        discussion: """
            The page of onebit report, which keeps itself up to date: plots, speed, time left, memory and samples, from the \
            metrics that compress, distill and pretrain keep. A run that has not begun is waited for, one that is resumed is \
            followed, and one that is done is shown as it ended. Several directories are compared.

            The log is read while someone watches, and not otherwise. Only this machine can reach the page, unless --host says \
            otherwise. Ctrl-C ends it; the training goes on.

            EXAMPLES
              onebit watch llama-7b-onebit
              onebit watch student-a student-b --port 8100
            """
    )

    @Argument(help: "Outputs of runs, there or to come; OUTPUT.training and OUTPUT.work are found beside them.")
    var directories: [URL]

    @Option(help: ArgumentHelp("Address to listen on.", valueName: "address"))
    var host = "127.0.0.1"

    @Option(help: ArgumentHelp("Port to listen on; 0 lets the system choose.", valueName: "n"))
    var port = 8090

    @Option(
        help: ArgumentHelp("A name by which browsers may reach the page; may be given again.", valueName: "host"))
    var allowHost: [String] = []

    @Flag(name: [.short, .long], help: "Print no greeting.")
    var quiet = false

    func validate() throws {
        guard (0...65_535).contains(port) else { throw ValidationError("--port must lie between 0 and 65535.") }
        guard !directories.isEmpty else { throw ValidationError("Give a directory.") }
    }

    func run() async throws {
        var settings = WatchSettings()
        (settings.host, settings.port, settings.allowedHosts) = (host, port, allowHost)
        if !settings.isLoopback {
            StandardStreams.writeError(
                "warning: \(host) can be reached from other machines, and whoever reaches it can watch.\n")
        }
        let trainings = WatchedTrainings(directories)
        let server = WatchServer(settings: settings) { picture, id, script in
            let page = ReportPage(
                heading: WatchedTrainings.heading, subject: trainings.names,
                sections: picture.sections.map { ReportSection($0.id, $0.html) })
            return WatchServer.Page(
                html: page.liveHTML(title: picture.title, picture: id, age: picture.age, script: script),
                style: ReportStyle.css)
        } look: {
            await trainings.picture()
        }
        let (host, isQuiet) = (host, quiet)
        try await server.run { port in
            guard !isQuiet else { return }
            let address = host.contains(":") ? "[\(host)]" : host
            StandardStreams.writeError("Watch \(trainings.names) on http://\(address):\(port)/. Ctrl-C ends it.\n")
        }
    }
}

/// Runs that are read as their logs grow.
actor WatchedTrainings {
    static let heading = "Training"

    /// For print.
    nonisolated let names: String
    private var trainings: [WatchedTraining]

    init(_ directories: [URL]) {
        trainings = directories.map { WatchedTraining($0) }
        names = trainings.map(\.history.name).joined(separator: ", ")
    }

    /// What the page shows now.
    func picture() -> WatchPicture {
        for index in trainings.indices { trainings[index].read() }
        let page = LiveTraining(trainings.map(\.run)).page
        let steps = trainings.map(\.stepText).joined(separator: ", ")
        return WatchPicture(
            title: "\(steps) · \(names)", sections: page.sections.map { ($0.id, $0.html) },
            lines: trainings.reduce(0) { $0 + $1.lines },
            age: trainings.compactMap(\.modified).max().map { max(0, -$0.timeIntervalSinceNow) })
    }
}

/// A run that is read as its log grows.
private struct WatchedTraining {
    /// Where a log may be, and what it says of the run that it is there: the first that is there counts.
    private struct Place {
        let directory: URL
        let state: LiveTraining.State
    }

    private let places: [Place]
    private let name: String
    private(set) var history: TrainingHistory
    /// Lines that were read, and those of them that could not be understood.
    private(set) var lines = 0
    private var malformed = 0
    /// When the log was last written to.
    private(set) var modified: Date?
    private var place: Int?
    private var follower: LineFollower?
    private var state = LiveTraining.State.waiting

    init(_ directory: URL) {
        // OUTPUT, OUTPUT.training and OUTPUT.work are of one run, whichever of them is named.
        let given = directory.standardizedFileURL
        let output = ["training", "work"].contains(given.pathExtension) ? given.deletingPathExtension() : given
        let folder = output.deletingLastPathComponent()
        let work = folder.appending(path: output.lastPathComponent + ".work")
        name = output.lastPathComponent
        let states: [LiveTraining.State] = [.training, .trained]
        var places = zip(TrainingHistory.workFolders, states).map { name, state in
            Place(directory: work.appending(path: name), state: state)
        }
        places.insert(Place(directory: folder.appending(path: name + ".training"), state: .training), at: 0)
        places.append(Place(directory: output, state: .done))
        self.places = places
        history = TrainingHistory(name: name)
    }

    var run: LiveTraining.Run { LiveTraining.Run(state: state, history: history, malformedLines: malformed) }

    var stepText: String { history.stepText(isDone: state == .done) }

    /// Takes in what is new.
    mutating func read() {
        let found = places.firstIndex {
            FileManager.default.fileExists(atPath: $0.directory.appending(path: TrainingHistory.logName).path)
        }
        guard let found else {
            if state != .waiting { state = .gone }
            return
        }
        let directory = places[found].directory
        if found != place {
            place = found
            follower = LineFollower(directory.appending(path: TrainingHistory.logName))
        }
        while let change = follower?.read() {
            modified = change.modified
            if change.isFromBegin {
                history = TrainingHistory(name: name)
                (lines, malformed) = (0, 0)
            }
            if change.isFromBegin || history.isWithoutDescription { history.readDescription(in: directory) }
            for line in change.lines {
                lines += 1
                if !history.append(line: line) { malformed += 1 }
            }
            guard change.hasMore, !Task.isCancelled else { break }
        }
        // The last steps are made, and the student is being written.
        state = places[found].state == .training && history.isComplete ? .trained : places[found].state
    }
}
