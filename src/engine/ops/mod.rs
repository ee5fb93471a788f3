//! Differentiable operations, one file each: formula and source, forward, backward, gradient test.
//!
//! Every op takes and returns [`Tensor`](crate::engine::autograd::Tensor). On the CPU the training path runs fused,
//! threaded kernels; on CUDA the same op is a composition of candle ops. No op moves its work to another device.

pub mod cpu;
