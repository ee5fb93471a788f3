//! Matrix products on the CPU.
//!
//! ```text
//! view     products of matrices wherever they lie (strides), by the `gemm` crate: AVX2, AVX-512 or NEON, one thread
//! dense    products of row-major matrices as layers need them (x W^T, dy W, dy^T x), over all threads
//! avx512   our kernels for those: f32, and bf16 with f32 sums where the processor has AVX512-BF16
//! dot      the same for a few rows, where reading the weights is all the work: decoding
//! ```
//!
//! Why kernels of our own: the `gemm` crate reaches a core's peak in f32, but loses half of it where the right side must be
//! transposed and has few columns to share the cost, does so again in every thread, and knows bf16 only by widening it;
//! AVX512-BF16 does two multiplications where f32 does one. docs/performance has the figures.

#[cfg(target_arch = "x86_64")]
pub(in crate::engine::ops) mod avx512;
pub mod dense;
#[cfg(target_arch = "x86_64")]
mod dot;
mod view;

pub use view::{Mat, Scalar, gemm};

/// Whether products of bf16 have a kernel of their own here.
pub(super) fn bf16_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return avx512::bf16_supported();
    #[cfg(not(target_arch = "x86_64"))]
    false
}
