import Foundation
import Testing

@testable import OneBitTraining

@Suite("Launch")
struct LaunchTests {
    private let torchrun = [
        "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "node1",
        "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_USE_AGENT_STORE": "True",
    ]
    private let slurm = [
        "SLURM_PROCID": "3", "SLURM_NTASKS": "6", "SLURM_LOCALID": "1", "SLURM_JOB_NODELIST": "gpu[012-014,020],other",
    ]

    @Test("torchrun's variables say rank, size and address; its agent serves the store")
    func torchrunVariables() throws {
        let launch = try #require(try Launch.found(in: torchrun))
        #expect((launch.rank, launch.size, launch.localRank, launch.localSize, launch.restarts) == (5, 8, 1, 4, 2))
        #expect(launch.rendezvous == .tcp(host: "node1", port: 29500))
        #expect(launch.launcherServes)
        let plain = ["RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "::1", "MASTER_PORT": "4000"]
        #expect(try Launch.found(in: plain)?.launcherServes == false)
        let file = try Launch.found(in: ["RANK": "1", "WORLD_SIZE": "2"], rendezvous: .init("file:///tmp/store"))
        #expect(file?.rendezvous == .file(path: "/tmp/store"))
    }

    @Test("Slurm's variables say the same, the first host serves; a batch script is no task")
    func slurmVariables() throws {
        let launch = try #require(try Launch.found(in: slurm))
        #expect((launch.rank, launch.size, launch.localRank) == (3, 6, 1))
        #expect(launch.rendezvous == .tcp(host: "gpu012", port: 20000))
        let job = slurm.merging(["SLURM_JOB_ID": "123456", "SLURM_STEP_ID": "0"], uniquingKeysWith: { $1 })
        #expect(try Launch.found(in: job)?.rendezvous == .tcp(host: "gpu012", port: 23456))
        #expect(try Launch.found(in: slurm.merging(["SLURM_JOB_ID": "1"], uniquingKeysWith: { $1 })) == nil)
        #expect(try Launch.found(in: slurm.merging(["SLURM_NTASKS": "1"], uniquingKeysWith: { $1 })) == nil)
        for (list, host) in [("a1,a2", "a1"), ("n[7]", "n7"), ("r[1-2]c[3-4],x", "r1c3"), ("single", "single")] {
            #expect(try Launch.firstHost(of: list) == host)
        }
        for list in ["", ",a", "n[1-2]x[", "n[x]", "n[1"] {
            #expect(throws: LaunchError.self) { try Launch.firstHost(of: list) }
        }
        #expect(try Launch.found(in: ["HOME": "/root"]) == nil)
    }

    @Test("What is missing, wrong or contradictory is named")
    func refusals() throws {
        func without(_ name: String) -> [String: String] { torchrun.filter { $0.key != name } }
        func with(_ name: String, _ value: String) -> [String: String] {
            torchrun.merging([name: value], uniquingKeysWith: { $1 })
        }
        func find(_ environment: [String: String], processes: Int? = nil) throws {
            _ = try Launch.found(in: environment, processes: processes)
        }
        for name in ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"] {
            #expect(throws: LaunchError.missingVariable(name)) { try find(without(name)) }
        }
        for (name, value) in [
            ("RANK", "8"), ("RANK", "-1"), ("RANK", "x"), ("WORLD_SIZE", "0"), ("MASTER_PORT", "70000"),
            ("LOCAL_RANK", "9"),
        ] {
            #expect {
                try find(with(name, value))
            } throws: { error in
                guard case .invalidVariable(name, value, _)? = error as? LaunchError else { return false }
                return true
            }
        }
        #expect(throws: LaunchError.contradiction(variable: "WORLD_SIZE", value: 8, processes: 4)) {
            try find(torchrun, processes: 4)
        }
        #expect(throws: LaunchError.contradiction(variable: "SLURM_NTASKS", value: 6, processes: 2)) {
            try find(slurm, processes: 2)
        }
        for text in [
            "node:1", "tcp://", "tcp://node", "tcp://node:0", "tcp://node:99999", "file://relative", "http://x:1", "",
        ] {
            #expect(throws: LaunchError.invalidRendezvous(text)) { try Launch.Rendezvous(text) }
        }
    }
}
