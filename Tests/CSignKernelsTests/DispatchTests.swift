import CSignKernels
import Testing

@Suite struct DispatchTests {
    @Test("The portable version is known, last, and runs on every CPU")
    func portable() {
        let names = availableKernels().map(name)
        #expect(names.last == "portable")
        #expect(sign_kernels_find("portable") != nil)
    }

    @Test("Without a name the best version of this CPU is found; an unknown name finds nothing")
    func find() {
        #expect(sign_kernels_find(nil) == availableKernels().first)
        #expect(sign_kernels_find("mmx") == nil)
        #expect(sign_kernels_find("") == nil)
    }
}
