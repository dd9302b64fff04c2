import Foundation
import Testing

@testable import Torch

@Suite("Tensors")
struct TensorTests {
    @Test("Every creator makes the element type that it is asked for", arguments: [DType.float32, .float16, .bfloat16])
    func elementTypes(dtype: DType) throws {
        let generator = try Generator(seed: 1)
        let made = [
            try Tensor.floats([1, -2], shape: [2], dtype: dtype), try .full(3, shape: [2], dtype: dtype),
            try .zeros([2], dtype: dtype), try .randn([2], dtype: dtype, using: generator),
            try .causalMask(length: 2, after: 1, window: 2, dtype: dtype),
        ]
        for tensor in made {
            #expect(tensor.dtype == dtype)
            #expect(tensor.device == .cpu)
        }
        #expect(try made[0].floats() == [1, -2] && made[1].floats() == [3, 3])
        #expect(try Tensor.integers([7], shape: [1]).dtype == .int64)
        #expect(try made[0].converted(to: .float32, device: .cpu).floats() == [1, -2])
    }

    @Test("A causal mask shows a token itself and what precedes it within the window")
    func causalMask() throws {
        let visible = try Tensor.causalMask(length: 3, after: 2, window: 2).floats().map { $0 == 0 }
        #expect(
            visible == [
                false, true, true, false, false,
                false, false, true, true, false,
                false, false, false, true, true,
            ])
    }

    @Test("Gradients are returned and stored nowhere; a leaf that the loss does not depend on has none")
    func gradients() throws {
        let value = try Tensor.floats([3], shape: [1])
        let (a, b) = (try value.requiringGradient(), try value.requiringGradient())
        for _ in 0..<2 {
            let gradients = try (a * a).sum().gradients(by: [a, b])
            #expect(try gradients[0]?.floats() == [6])
            #expect(gradients[1] == nil)
        }
    }

    @Test("Threads take gradients by the same leaves at once, and get what one thread gets")
    func concurrentGradients() throws {
        let generator = try Generator(seed: 3)
        let leaf = try Tensor.randn([24, 24], using: generator).requiringGradient()
        @Sendable func gradient(_ index: Int) throws -> [Float] {
            let x = try Tensor.full(Double(index) / 10, shape: [8, 24])
            let loss = try x.linear(leaf).linear(leaf).relu().sum()
            return try loss.gradients(by: [leaf])[0]?.floats() ?? []
        }
        let expected = try (0..<32).map(gradient)
        let found = try concurrentMap(32, workers: 4, threadsPerWorker: 1) { try gradient($0) }
        #expect(found == expected)
    }

    @Test("A buffer adds up tensors of any float type, whole or slice by slice")
    func sums() throws {
        let buffer = try TensorBuffer([2])
        try buffer.add(.floats([1, 2], shape: [2]))
        try buffer.add(.floats([0.5, -2], shape: [2], dtype: .bfloat16))
        #expect(try buffer.tensor.floats() == [1.5, 0])
        #expect(throws: TorchError.self) { try buffer.add(.zeros([3])) }
        try buffer.add(.full(1, shape: [1]), along: 0, from: 1)
        #expect(try buffer.tensor.floats() == [1.5, 1])
    }

    @Test("A buffer is written slice by slice")
    func buffer() throws {
        let buffer = try TensorBuffer([2, 3])
        for column in 0..<3 {
            try buffer.write(.full(Double(column), shape: [2, 1]), along: 1, from: column)
        }
        #expect(try buffer.slices(along: 1, from: 1, count: 2).floats() == [1, 2, 1, 2])
        #expect(throws: TorchError.self) { try buffer.write(.zeros([2, 1]), along: 1, from: 3) }
        #expect(throws: TorchError.self) { try buffer.write(.zeros([3, 1]), along: 1, from: 0) }
    }

    @Test("An operation on shapes that do not fit throws and says which operation")
    func shapeMismatch() throws {
        let (a, b) = (try Tensor.zeros([2, 3]), try Tensor.zeros([2, 4]))
        #expect {
            try a + b
        } throws: { error in
            (error as? TorchError)?.operation == "+" && "\(error)".contains("3") && "\(error)".contains("4")
        }
    }
}

@Suite("Cancellation", .serialized)
struct CancellationTests {
    /// Passes through fused layers, without end.
    private static func passes(backward: Bool) throws -> Never {
        let x = try Tensor.full(1, shape: [16, 64]).requiringGradient()
        let weight = try Tensor.full(1, shape: [64])
        func layers(_ count: Int) throws -> Tensor {
            try (0..<count).reduce(x) { y, _ in try y.rmsNorm(weight, epsilon: 1e-5) }
        }
        if backward {
            while true { _ = try layers(200).sum().gradients(by: [x]) }
        }
        while true { _ = try withoutGradient { try layers(200) } }
    }

    @Test(
        "A cancelled task stops passes through fused layers on all workers, forward and backward",
        .timeLimit(.minutes(1)), arguments: [(1, false), (3, false), (1, true), (3, true)])
    func cancelled(workers: Int, backward: Bool) async throws {
        let task = Task {
            _ = try concurrentMap(workers, workers: workers, threadsPerWorker: 1) { _ in
                try Self.passes(backward: backward)
            }
        }
        // From a thread of its own: the work occupies those of the pools.
        Thread.detachNewThread {
            usleep(50_000)
            task.cancel()
        }
        await #expect(throws: CancellationError.self) { try await task.value }
    }

    @Test("A body that fails stops the others, and its error is the one that is thrown")
    func failure() throws {
        struct Failure: Error {}
        #expect(throws: Failure.self) {
            try concurrentMap(2, workers: 2, threadsPerWorker: 1) { index in
                if index == 1 { throw Failure() }
                while true {
                    try checkCancellation()
                    usleep(1000)
                }
            }
        }
    }
}
