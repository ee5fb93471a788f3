//! Differentiable operations, one file each: formula and source, forward, backward, gradient test.
//!
//! Every op takes and returns [`Tensor`](crate::engine::autograd::Tensor). On the CPU the training path runs fused,
//! threaded kernels; on CUDA the same op is a composition of candle ops. No op moves its work to another device.

pub mod arith;
pub mod documents;
pub mod attention;
pub mod budget;
pub mod cast;
pub mod close;
pub mod compare;
pub mod cpu;
pub(in crate::engine) mod convert;
pub mod create;
pub mod cross_entropy;
pub mod dropout;
pub mod dropout_mask;
pub mod embedding;
pub mod gemm;
pub mod head_loss;
pub mod index;
pub mod inspect;
pub mod int_arith;
pub mod join;
pub(crate) mod products;
pub mod quant;
pub(in crate::engine) mod quantized;
pub mod linear;
pub mod linears;
pub mod lora;
pub mod matmul;
pub mod operands;
pub mod pow;
pub mod reduce;
pub mod residual;
pub mod rms_norm;
pub mod rope;
pub mod rows;
pub mod shape;
pub mod softmax;
pub mod swiglu;
mod team;
pub mod unary;
pub mod weight;

#[cfg(test)]
pub(crate) mod testing;
