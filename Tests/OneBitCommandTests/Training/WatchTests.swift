import Foundation
import OneBitServer
import TestSupport
import Testing

@testable import onebit

@Suite("onebit watch")
struct WatchTests {
    private let folder: TemporaryDirectory

    init() throws { folder = try TemporaryDirectory() }

    private func line(_ step: Int) -> String {
        #"{"step":\#(step),"loss":\#(9 - step),"parts":{"kl_per_token":0.5},"learning_rate_factor":1,"gradient_norm":1,"#
            + #""epoch":0,"learning_rates":{"latent":0.001},"tokens":\#(step * 8),"step_tokens":8,"seconds":0.5,"#
            + #""phases":{},"operations":1,"peak_bytes":1000000}"# + "\n"
    }

    private func write(_ text: String, in directory: String) throws {
        try FileManager.default.createDirectory(at: folder.file(directory), withIntermediateDirectories: true)
        try folder.write(
            #"{"settings":{},"execution":{},"parameters":1,"steps":4,"version":"1"}"#, as: "\(directory)/run.json")
        try folder.write(text, as: "\(directory)/metrics.jsonl")
    }

    private func status(_ picture: WatchPicture) -> String { picture.sections.first { $0.id == "status" }?.html ?? "" }

    @Test("A run is waited for, followed from any of its names, cut by a resumption, and done when its output stands")
    func lifetime() async throws {
        for name in ["out", "out.training", "out.work"] {
            let watched = WatchedTrainings([folder.file(name)])
            let before = await watched.picture()
            #expect(before.title == "waiting · out" && before.lines == 0 && before.age == nil)
            #expect(status(before).contains("waiting for it to begin"))

            try write(line(1) + line(2) + "no line\n" + line(3).dropLast(9), in: "out.training")
            let torn = await watched.picture()
            #expect(torn.title == "step 2 of 4 · out" && torn.lines == 3 && torn.age != nil)
            #expect(status(torn).contains("could not be read: 1") && status(torn).contains("time left"))

            // A resumption replaces the file, without what is behind its step.
            try write(line(1), in: "out.training")
            let resumed = await watched.picture()
            #expect(resumed.title == "step 1 of 4 · out" && resumed.lines == 1)
            #expect(!status(resumed).contains("could not be read"))

            let all = (1...4).map(line).joined()
            try write(all, in: "out.training")
            #expect(await status(watched.picture()).contains("its output is being made"))
            try FileManager.default.removeItem(at: folder.file("out.training"))
            #expect(await status(watched.picture()).contains("its directory is gone"))
            try write(all, in: "out")
            let done = await watched.picture()
            #expect(done.title == "done · out" && status(done).contains("4 of 4"))
            let loss = done.sections.first { $0.id == "loss" }?.html ?? ""
            #expect(loss.contains("polyline"))
            try FileManager.default.removeItem(at: folder.file("out"))
            #expect(await watched.picture().sections.first { $0.id == "loss" }?.html == loss, "the last picture stays")
        }
    }

    @Test("The work of a compression is found, and several runs are compared")
    func several() async throws {
        try write(line(1), in: "a.work/student.training")
        try write(line(2), in: "b")
        let picture = await WatchedTrainings([folder.file("a"), folder.file("b")]).picture()
        #expect(picture.title == "step 1 of 4, done · a, b" && picture.lines == 2)
        #expect(picture.sections.first { $0.id == "summary" }?.html.contains("Comparison") == true)
    }
}
