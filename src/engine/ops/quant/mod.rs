//! Weights that stay quantized in memory: a product reads 4 or 8 bits of each and makes the numbers on the way.
//!
//! ```text
//! blocks       the formats, and the order that we keep them in
//! activations  rows of activations as 8-bit integers
//! matrix       a quantized matrix: packed from a file, read as f32 or bf16
//! dot          products with up to eight rows in integers: decoding
//! avx512       the kernels of both with VNNI; portable: the same in plain Rust
//! pages        memory in large pages
//! ```

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod dot;
mod matrix;
mod pages;
mod portable;

pub(super) use blocks::GROUP;
pub use blocks::Kind;
pub use matrix::{Matrix, Source};

pub(super) use activations::Activations;
pub(super) use dot::{Product, ROWS, multiply};

use super::cpu::vectorised;

#[cfg(test)]
pub(super) mod tests;
