import Foundation

#if TRAINING
    import Torch
#endif

/// How the process ends, once everything is printed.
enum ProcessEnd {
    /// Ends the process with an exit code.
    ///
    /// With CUDA's libraries open no destructors of theirs are run: they would use a driver that is already shutting down.
    static func exit(_ code: Int32) -> Never {
        fflush(nil)
        #if TRAINING
            if CUDALibrary.isLoaded { _exit(code) }
        #endif
        Foundation.exit(code)
    }
}
