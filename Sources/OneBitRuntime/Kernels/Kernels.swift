import CSignKernels

/// The table of one instruction set's kernels.
typealias Kernels = UnsafePointer<sign_kernels_table>
