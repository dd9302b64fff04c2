import CLibTorch
import Foundation
import Synchronization

/// Processes that compute together, one rank each: c10d's collectives over Gloo, or one process alone.
///
/// All ranks start the same collectives in the same order, each from one thread at a time. Waiting for one sees within a
/// quarter of a second that this rank's task is cancelled or that another rank stops, and has a time limit.
public final class ProcessGroup: Sendable {
    /// Number of this process, from 0.
    public let rank: Int
    /// Processes in all.
    public let size: Int
    /// Longest time that a collective, or the meeting at the beginning, may take.
    public let limit: Duration

    private let store: KeyValueStore?
    /// Before the keys of the store: a restarted run does not see those of the last one.
    private let prefix: String
    // Proof of Sendable: the handle never changes. c10d wants collectives started from one thread at a time, which is what
    // this type asks of its callers.
    private nonisolated(unsafe) let handle: OpaquePointer?
    /// Whether a collective failed or was left: what others of it are under way may never end.
    private let isBroken = Atomic<Bool>(false)
    /// The step that is being computed and can still be given up; 0 between steps.
    private let openStep = Atomic<Int>(0)

    /// This process alone: every collective is what it is for one rank.
    public static let alone = ProcessGroup()

    private init() {
        (rank, size, limit, store, prefix, handle) = (0, 1, .seconds(600), nil, "", nil)
    }

    /// Joins the others.
    ///
    /// - Parameters:
    ///   - store: Where they meet.
    ///   - prefix: Before all keys; the same on all ranks.
    ///   - rank: This process among them.
    ///   - size: Processes in all.
    ///   - host: Name or address by which the others reach this machine; nil lets Gloo look it up.
    ///   - device: Where passes compute: collectives of a CUDA device's tensors go over NCCL.
    ///   - limit: Longest time of the meeting, and of each collective.
    ///   - whileMeeting: Called now and then until all are there; ends the meeting by throwing.
    /// - Throws: ``ProcessGroupError``, `CancellationError`.
    public init(
        store: KeyValueStore, rank: Int, size: Int, prefix: String = "", host: String? = nil,
        device: Device = .cpu, limit: Duration = .seconds(600), whileMeeting: () throws -> Void = {}
    ) throws {
        precondition(0..<size ~= rank, "rank \(rank) of \(size)")
        (self.rank, self.size, self.limit, self.store) = (rank, size, limit, store)
        self.prefix = "onebit/\(prefix)/"
        let needsNCCL = device.kind == .cuda && size > 1
        // Before the ranks meet, so that each of them says it.
        if needsNCCL, lt_find_nccl() != 0 { throw ProcessGroupError.nccl(reason: String(cString: lt_last_error())) }
        try Self.meet(
            store: store, prefix: self.prefix, rank: rank, size: size, limit: limit, whileMeeting: whileMeeting)
        let interface = ProcessInfo.processInfo.environment["GLOO_SOCKET_IFNAME"]
        handle = lt_group_gloo(
            store.handle, self.prefix + "gloo", host, interface, Int32(rank), Int32(size), limit.milliseconds)
        guard let handle else { throw ProcessGroupError.last(in: "connecting the ranks") }
        guard needsNCCL else { return }
        guard
            lt_group_add_nccl(
                handle, store.handle, self.prefix + "nccl", Int32(rank), Int32(size), limit.milliseconds) == 0
        else { throw ProcessGroupError.nccl(reason: String(cString: lt_last_error())) }
    }

    deinit {
        // A group with work that never ends would wait for it; its threads then end with the process.
        if let handle, !isBroken.load(ordering: .relaxed) { lt_group_release(handle) }
    }

    /// Waits until all ranks are there, and all of them for a group of the same size.
    private static func meet(
        store: KeyValueStore, prefix: String, rank: Int, size: Int, limit: Duration, whileMeeting: () throws -> Void
    ) throws {
        let deadline = ContinuousClock.now + limit
        if try store.add("\(prefix)claim/\(rank)", 1) > 1 {
            throw ProcessGroupError.rankTaken(rank: rank, address: store.address)
        }
        try store.set("\(prefix)size/\(rank)", "\(size)")
        func refuse(rank other: Int, size given: Int) throws -> Never {
            let error = ProcessGroupError.sizesDiffer(rank: rank, size: size, other: other, otherSize: given)
            // Those that know nothing of this rank learn it from the next look at the store.
            let stop = StopRequest(rank: rank, step: 0, reason: error.localizedDescription, savesState: false)
            try store.set("\(prefix)stop", stop.text)
            throw error
        }
        var missing = Set(0..<size)
        while true {
            for other in missing.sorted() {
                guard let given = try store.value("\(prefix)size/\(other)").flatMap({ Int($0) }) else { continue }
                if given != size { try refuse(rank: other, size: given) }
                missing.remove(other)
            }
            if missing.isEmpty { return }
            guard ContinuousClock.now < deadline else {
                throw ProcessGroupError.ranksMissing(
                    missing.sorted(), size: size, address: store.address, seconds: limit.wholeSeconds)
            }
            try checkCancellation()
            try whileMeeting()
            usleep(20_000)
        }
    }

    // MARK: Collectives

    /// Σ over the ranks; the same bits on all of them.
    public func allReduce(_ tensor: Tensor) throws -> Tensor {
        guard size > 1 else { return tensor }
        let buffer = try TensorBuffer(tensor.shape, dtype: tensor.dtype, device: tensor.device)
        if let first = tensor.shape.first, first > 0 { try buffer.write(tensor, along: 0, from: 0) }
        let work = try start("all-reduce", buffer.tensor) { lt_start_all_reduce($0, $1[0]) }
        try work.wait()
        return buffer.tensor
    }

    /// Each rank's numbers, by rank; all have as many.
    public func allGather(_ numbers: [Double]) throws -> [[Double]] {
        guard size > 1 else { return [numbers] }
        let bytes = try numbers.withUnsafeBytes {
            try Tensor.elements($0, shape: [numbers.count * MemoryLayout<Double>.size], dtype: .uint8)
        }
        let parts = try allGather(bytes).withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
        return (0..<size).map { Array(parts[($0 * numbers.count)..<(($0 + 1) * numbers.count)]) }
    }

    /// Each rank's tensor, [size, …]; they have one shape and type.
    public func allGather(_ part: Tensor) throws -> Tensor {
        guard size > 1 else { return try part.reshaped([1] + part.shape) }
        let whole = try TensorBuffer([size] + part.shape, dtype: part.dtype, device: part.device)
        try start("all-gather", whole.tensor, part) { lt_start_all_gather($0, $1[0], $1[1]) }.wait()
        return whole.tensor
    }

    /// Starts to add up, over the ranks, what each has for every rank.
    ///
    /// Gloo's own reduce-scatter is an all-reduce of everything. This one sends each part to its owner alone, in the type
    /// that it has, and the owner sums in float32 in the order of the ranks.
    ///
    /// - Parameter parts: [size, …], the part of rank r at r.
    public func startReduceScatter(_ parts: Tensor) throws -> PendingSum {
        precondition(parts.shape.first == size, "parts \(parts.shape) for \(size) ranks")
        guard size > 1 else { return PendingSum(received: parts, work: nil) }
        let received = try TensorBuffer(parts.shape, dtype: parts.dtype, device: parts.device)
        let work = try start("reduce-scatter", received.tensor, parts) { lt_start_exchange($0, $1[0], $1[1]) }
        return PendingSum(received: received.tensor, work: work)
    }

    /// A sum that is under way.
    public struct PendingSum {
        fileprivate let received: Tensor
        fileprivate let work: CollectiveWork?

        /// Waits for this rank's part […] of the sum, in float32.
        public func value() throws -> Tensor {
            try work?.wait()
            return try .compute("a sum over the ranks", received) { lt_sum_rows($0[0]) }
        }
    }

    /// The root's tensor on all ranks; they have one shape and type.
    public func broadcast(_ tensor: Tensor, from root: Int) throws -> Tensor {
        guard size > 1 else { return tensor }
        let buffer = try TensorBuffer(tensor.shape, dtype: tensor.dtype, device: tensor.device)
        try buffer.write(tensor, along: 0, from: 0)
        try start("broadcast", buffer.tensor) { lt_start_broadcast($0, $1[0], Int32(root)) }.wait()
        return buffer.tensor
    }

    private func start(
        _ operation: String, _ tensors: Tensor..., body: (OpaquePointer, [OpaquePointer?]) -> OpaquePointer?
    ) throws -> CollectiveWork {
        guard let handle else { preconditionFailure("a group of one has no collectives") }
        guard let work = Tensor.withHandles(tensors, { body(handle, $0) }) else {
            isBroken.store(true, ordering: .relaxed)
            throw ProcessGroupError.last(in: operation)
        }
        return CollectiveWork(work, operation, of: self)
    }

    /// A collective under way.
    fileprivate final class CollectiveWork {
        private let handle: OpaquePointer
        private let operation: String
        private let group: ProcessGroup
        private let begin = ContinuousClock.now

        init(_ handle: OpaquePointer, _ operation: String, of group: ProcessGroup) {
            (self.handle, self.operation, self.group) = (handle, operation, group)
        }

        deinit { lt_work_release(handle) }

        func wait() throws {
            do {
                while true {
                    switch lt_work_wait(handle, 250) {
                    case 1: return
                    case 0:
                        try group.checkStop()
                        guard ContinuousClock.now - begin < group.limit else {
                            throw ProcessGroupError.timedOut(
                                operation: operation, seconds: group.limit.wholeSeconds, reason: nil)
                        }
                    default: throw ProcessGroupError.last(in: operation, limit: group.limit)
                    }
                }
            } catch {
                group.isBroken.store(true, ordering: .relaxed)
                // A rank that fails tells why through the store; that says more than a connection that was closed.
                if error is ProcessGroupError, let stop = try? group.postedStop(), stop.rank != group.rank {
                    if let reason = stop.reason { throw ProcessGroupError.peerFailed(rank: stop.rank, reason: reason) }
                }
                throw error
            }
        }
    }

    // MARK: Meeting without collectives

    /// Waits until all ranks have come here as often as this one, through the store alone: also where collectives were left.
    ///
    /// - Parameters:
    ///   - name: Of the barrier, the same on all ranks.
    ///   - isPatient: Whether there is no time limit, but the end of the task's patience.
    /// - Throws: ``ProcessGroupError``.
    public func barrier(_ name: String, isPatient: Bool = false) throws {
        guard let store else { return }
        let key = "\(prefix)barrier/\(name)"
        let goal = (try store.add(key, 1) - 1) / size * size + size
        try wait(for: name, isPatient: isPatient) { try store.add(key, 0) >= goal ? () : nil }
    }

    /// Runs `body` on the first rank, and once it has ended there, on the others, however long that takes: they find what it
    /// left on a disk that all see.
    ///
    /// - Parameters:
    ///   - name: Another one for each call.
    ///   - body: What to run.
    public func firstRankFirst<Result>(_ name: String, _ body: () throws -> Result) throws -> Result {
        if rank > 0 { _ = try receive("turn/\(name)", isPatient: true) }
        let result = try body()
        if rank == 0 { try send("done", as: "turn/\(name)") }
        return result
    }

    /// Leaves a message for the other ranks.
    package func send(_ message: String, as name: String) throws { try store?.set("\(prefix)message/\(name)", message) }

    /// Waits for the message of another rank.
    ///
    /// - Parameter isPatient: Whether there is no time limit, but the end of the task's patience.
    package func receive(_ name: String, isPatient: Bool = false) throws -> String {
        guard let store else { preconditionFailure("nobody sends to a rank that is alone") }
        return try wait(for: name, isPatient: isPatient) { try store.value("\(prefix)message/\(name)") }
    }

    /// Says that this rank has nothing more to ask. The first one, which may serve the store, waits a few seconds for the
    /// others to say so.
    public func leave() {
        guard let store, (try? store.add("\(prefix)left", 1)) != nil, rank == 0 else { return }
        let deadline = ContinuousClock.now + .seconds(5)
        while let left = try? store.add("\(prefix)left", 0), left < size, ContinuousClock.now < deadline {
            usleep(20_000)
        }
    }

    private func wait<Result>(
        for name: String, isPatient: Bool = false, _ look: () throws -> Result?
    ) throws -> Result {
        let deadline = ContinuousClock.now + limit
        while true {
            if let result = try look() { return result }
            if let stop = try postedStop() {
                if stop.rank != rank, isPatient || !stop.savesState {
                    if let reason = stop.reason { throw ProcessGroupError.peerFailed(rank: stop.rank, reason: reason) }
                    if isPatient { throw CancellationError() }
                }
                // This rank found one lost while a thread of it still writes a checkpoint: the lost one will not come.
                if stop.rank == rank, !stop.savesState { throw CancellationError() }
            }
            if isPatient { try checkCancellation() }
            guard isPatient || ContinuousClock.now < deadline else {
                throw ProcessGroupError.timedOut(
                    operation: "waiting for the other ranks (\(name))", seconds: limit.wholeSeconds, reason: nil)
            }
            usleep(20_000)
        }
    }

    // MARK: Stopping together

    /// Why, and before which step, all ranks stop: left in the store by the first that has to.
    package struct StopRequest: Codable, Sendable, Hashable {
        package let rank: Int
        /// The first step that is not made; none that is committed is given up, unless this is 0.
        package let step: Int
        /// What went wrong; nil where the rank was asked to stop.
        package let reason: String?
        /// Whether the state after the last step is worth saving.
        package let savesState: Bool

        var text: String {
            // A store's message of bounded length; a JSON object of such strings cannot fail to encode.
            let bounded = StopRequest(
                rank: rank, step: step, reason: reason.map { String($0.prefix(600)) }, savesState: savesState)
            return (try? JSONEncoder().encode(bounded)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
        }

        package init(rank: Int, step: Int, reason: String?, savesState: Bool) {
            (self.rank, self.step, self.reason, self.savesState) = (rank, step, reason, savesState)
        }
    }

    /// A step begins that can be given up: by this rank's cancellation, or because another rank has given it up.
    package func open(step: Int) { openStep.store(step, ordering: .sequentiallyConsistent) }

    /// The step that can be given up; nil where none is open.
    package var uncommittedStep: Int? {
        let step = openStep.load(ordering: .sequentiallyConsistent)
        return step > 0 ? step : nil
    }

    /// Runs the collective by which all ranks learn that all have come as far as this: once it ends, the step is made, and
    /// waiting does not see cancellation until the next one is opened.
    ///
    /// This rank's own cancellation does not end it, since others may have come through. Another rank that has given the step
    /// up never comes here, so its message does.
    package func commit<Result>(_ body: () throws -> Result) throws -> Result {
        isCommitting.store(true, ordering: .relaxed)
        defer { isCommitting.store(false, ordering: .relaxed) }
        let result = try body()
        openStep.store(0, ordering: .sequentiallyConsistent)
        return result
    }

    private let isCommitting = Atomic<Bool>(false)

    /// Tells all ranks to stop, unless one has before; returns what holds.
    package func requestStop(_ request: StopRequest) throws -> StopRequest {
        guard let store else { return request }
        if try store.add("\(prefix)stops", 1) == 1 {
            try store.set("\(prefix)stop", request.text)
            return request
        }
        let deadline = ContinuousClock.now + .seconds(5)
        while ContinuousClock.now < deadline {
            if let stop = try postedStop() { return stop }
            usleep(10_000)
        }
        return request
    }

    /// Tells all ranks that this one has failed, or was asked to stop, whatever they are doing.
    public func fail(_ error: any Error) {
        let reason = error is CancellationError ? nil : error.localizedDescription
        _ = try? requestStop(StopRequest(rank: rank, step: 0, reason: reason, savesState: false))
    }

    /// What another rank, or this one, has asked for.
    package func postedStop() throws -> StopRequest? {
        try store?.value("\(prefix)stop").flatMap { try? JSONDecoder().decode(StopRequest.self, from: Data($0.utf8)) }
    }

    /// Whether the work of this rank is to be given up for another rank's sake.
    package func concerns(_ stop: StopRequest) -> Bool {
        stop.step == 0 || uncommittedStep.map { stop.step <= $0 } == true
    }

    /// Throws `CancellationError` where this step is to be given up.
    private func checkStop() throws {
        if let stop = try postedStop() {
            if let reason = stop.reason, stop.step == 0 {
                throw ProcessGroupError.peerFailed(rank: stop.rank, reason: reason)
            }
            if concerns(stop) { throw CancellationError() }
        }
        if uncommittedStep != nil, !isCommitting.load(ordering: .relaxed) { try checkCancellation() }
    }
}
