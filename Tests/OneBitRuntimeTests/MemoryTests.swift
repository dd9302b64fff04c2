import TestSupport
import Testing

@testable import LanguageModel
@testable import OneBitRuntime

@Suite struct MemoryTests {
    @Test("A context whose keys and values do not fit in memory is refused before anything is taken")
    func contextTooLong() throws {
        // 2 layers, 2 · 1 head of 16 halves: 128 bytes a position, 256 GB in all.
        let tiny = try TinyPackedModel(maximumPositions: Int(Int32.max))
        let model = try tiny.model()
        let available = try #require(AvailableMemory.bytesAvailable)
        guard available < 128 * Int(Int32.max) else { return }
        let error = #expect(throws: LanguageModelError.self) { try SingleSequence(model) }
        guard case .notEnoughMemory(let needed, _, _) = error else {
            Issue.record("found \(String(describing: error))")
            return
        }
        #expect(needed == 2 * 2 * 16 * 2 * Int(Int32.max))
        // A shorter one works.
        try SingleSequence(model, capacity: 1000).read([1, 2])
    }

    @Test("A buffer is zero, and one that cannot be had is an error")
    func buffers() throws {
        let buffer = try Buffer<Int32>(count: 5000)
        #expect(UnsafeBufferPointer(start: buffer.pointer, count: 5000).allSatisfy { $0 == 0 })
        #expect(throws: RuntimeError.self) { try Buffer<Int64>(count: .max / 4) }
        #expect(throws: RuntimeError.self) { try Buffer<UInt8>(count: .max) }
        #expect(throws: RuntimeError.outOfMemory(bytes: 1 << 60)) { try Buffer<UInt8>(count: 1 << 60) }
    }

    #if DEBUG
        @Test(
            "In debug builds an access beyond a buffer's last element ends the process", arguments: [1, 40, 4096, 5001])
        func guardPages(count: Int) async {
            await #expect(processExitsWith: .failure) { [count] in
                let buffer = try Buffer<Int8>(count: count)
                buffer.pointer[count] = 1
            }
            await #expect(processExitsWith: .success) { [count] in
                let buffer = try Buffer<Int8>(count: count)
                buffer.pointer[count - 1] = 1
            }
        }
    #endif
}
