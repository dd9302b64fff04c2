import Foundation
import Testing

@testable import Torch

@Suite("Devices")
struct DeviceTests {
    @Test(
        "A device is asked for by name",
        arguments: [
            ("auto", DeviceRequest.automatic), ("cpu", .cpu), ("cuda", .cuda(index: nil)), ("cuda:3", .cuda(index: 3)),
        ])
    func requests(text: String, request: DeviceRequest) {
        #expect(DeviceRequest(text) == request)
        #expect(request.description == text)
    }

    @Test("Other names are none", arguments: ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cuda:1000", "cpu:0"])
    func unknownRequests(text: String) { #expect(DeviceRequest(text) == nil) }

    @Test("CUDA that is asked for after the first tensor was made is refused", .enabled(if: !CUDALibrary.isLoaded))
    func tooLate() throws {
        _ = try Tensor.zeros([1])
        #expect(throws: DeviceError.loadedTooLate) { try DeviceRequest.cuda(index: nil).select() }
        #expect(try DeviceRequest.cpu.select() == .cpu)
    }

    @Test("ONEBIT_LIBTORCH comes first among the folders that are searched, then that of the CPU library")
    func candidates() {
        let folders = CUDALibrary.candidates(environment: ["ONEBIT_LIBTORCH": "/opt/torch", "PATH": "/nowhere"])
        #expect(folders[0].path == "/opt/torch/lib")
        #expect(FileManager.default.fileExists(atPath: folders[1].appending(path: "libtorch_cpu.so").path))
    }

    @Test(
        "A library's version is that of version.py, or of the header where libtorch was unpacked",
        arguments: [
            ("version.py", "__version__ = '2.11.0+cu130'\n", "2.11.0+cu130"),
            ("include/torch/headeronly/version.h", "#define TORCH_VERSION \\\n  \"2.10.0\"\n", "2.10.0"),
        ])
    func version(file: String, text: String, version: String) throws {
        let torch = FileManager.default.temporaryDirectory.appending(path: "torch-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: torch) }
        let library = torch.appending(path: "lib/libtorch_cuda.so")
        #expect(CUDALibrary.version(of: library) == nil)
        let file = torch.appending(path: file)
        try FileManager.default.createDirectory(
            at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: file)
        #expect(CUDALibrary.version(of: library) == version)
    }

    @Test("The libtorch that was linked has the version that the program was compiled for")
    func ownVersion() throws {
        let folders = CUDALibrary.candidates(environment: ["PATH": "/nowhere"])
        let version = try #require(CUDALibrary.version(of: folders[0].appending(path: CUDALibrary.fileName)))
        #expect(version.hasPrefix("2.11.0"))
    }

    @Test("A tensor on the meta device has shape and type, gives tensors there, and has no elements to read")
    func meta() throws {
        let x = try Tensor.zeros([1 << 20, 1 << 20], device: .meta)
        #expect(x.device == .meta)
        let y = try x.linear(.zeros([3, 1 << 20], device: .meta))
        #expect(y.shape == [1 << 20, 3])
        #expect(y.device == .meta)
        #expect(throws: TorchError.self) { try y.narrowed(0, from: 0, length: 1).floats() }
        #expect(throws: TorchError.self) { try x.linear(.zeros([3, 1 << 20 / 1024], device: .cpu)) }
    }

    @Test("Streams, events and pinned memory do nothing special on the CPU")
    func host() throws {
        let stream = try DeviceStream.copies(of: .cpu)
        let x = try Tensor.floats([1, 2, 3], shape: [3])
        let (copy, event) = try stream.run { (try x.pinned().sent(to: .cpu), try stream.record()) }
        try DeviceStream.current(of: .cpu).wait(for: event)
        try event.wait()
        #expect(try copy.floats() == [1, 2, 3])
        #expect(try Device.cpu.memory() == nil)
        try Device.cpu.synchronize()
    }
}
