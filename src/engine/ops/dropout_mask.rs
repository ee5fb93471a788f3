//! Inverted dropout as a function of a random stream: the mask is never stored, only the stream's position is.
//!
//! Element `i` is kept iff its 32 random bits reach `p * 2^32`; kept elements are scaled by `1 / (1 - p)`.
//! Source: Srivastava et al., "Dropout", JMLR 2014.

use super::cpu::{self, Elem, dispatch, prepared, slices, vectorised};
use crate::engine::error::Result;
use crate::engine::rng::{BLOCKS, Stream};
use candle_core::{DType, Tensor as Value};
use rayon::prelude::*;

/// Elements per task; a multiple of the four that one block of random bits serves.
const CHUNK: usize = 16_384;

fn threshold(p: f64) -> u64 {
    (p * 4_294_967_296.0).round() as u64
}

/// `x` with the mask of `stream` applied: shape and dtype of `x`. The same call on a gradient is its backward.
///
/// On a CUDA device the mask is made by the host from the same stream and sent over, so that both devices drop the same
/// elements.
pub fn apply(x: &Value, stream: Stream, p: f64) -> Result<Value> {
    if p <= 0.0 {
        return Ok(x.clone());
    }
    if !x.device().is_cpu() {
        let ones = vec![1f32; x.elem_count()];
        let mask = cpu::tensor(masked(&ones, stream, p), x.dims())?;
        return Ok((x * mask.to_dtype(x.dtype())?.to_device(x.device())?)?);
    }
    let x = prepared(x, x.dtype())?;
    dispatch!("dropout", x.dtype(), T => {
        slices!([data: T = x] => cpu::tensor(masked(data, stream, p), x.dims()))
    })
}

fn masked<T: Elem>(x: &[T], stream: Stream, p: f64) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    if p >= 1.0 {
        return out;
    }
    let threshold = threshold(p);
    let scale: T::Acc = cpu::acc(1.0 / (1.0 - p));
    // A draw is 32 bits, so that comparing with the threshold in 64 and with one less in 32 are the same.
    let below = u32::try_from(threshold.saturating_sub(1)).unwrap_or(u32::MAX);
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (out, x))| {
        let first = (chunk * CHUNK / 4) as u64;
        vectorised(|| {
            for (group, (out, x)) in out.chunks_mut(4 * BLOCKS).zip(x.chunks(4 * BLOCKS)).enumerate() {
                let bits = stream.blocks(first + (group * BLOCKS) as u64);
                for (i, (o, x)) in out.iter_mut().zip(x).enumerate() {
                    let keep = threshold == 0 || bits[i % 4][i / 4] > below;
                    *o = if keep { T::down(x.up() * scale) } else { T::zero() };
                }
            }
        });
    });
    out
}

/// Whether dropout does anything at all.
pub fn active(p: f64, training: bool) -> bool {
    training && p > 0.0
}

/// `p` must be a probability.
pub fn check(p: f64) -> Result<()> {
    if (0.0..=1.0).contains(&p) {
        Ok(())
    } else {
        Err(crate::engine::Error::config(format!("dropout: the probability must be in 0..=1, not {p}")))
    }
}

/// The mask itself, as `dtype`: zeros and `1 / (1 - p)`.
pub fn mask(dims: &[usize], dtype: DType, stream: Stream, p: f64) -> Result<Value> {
    let ones = Value::ones(dims, dtype, &candle_core::Device::Cpu)?;
    apply(&ones, stream, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the estimate: the share kept is 1 - p and the mean is kept; the same stream gives the same mask.
    #[test]
    fn keeps_the_mean() -> Result<()> {
        let stream = Stream::new(9);
        let m = mask(&[100_003], DType::F32, stream, 0.3)?;
        let v = m.to_vec1::<f32>()?;
        let kept = v.iter().filter(|x| **x > 0.0).count() as f64 / v.len() as f64;
        assert!((kept - 0.7).abs() < 0.01, "{kept}");
        assert_eq!(v, mask(&[100_003], DType::F32, stream, 0.3)?.to_vec1::<f32>()?);
        assert_eq!(mask(&[3], DType::F32, stream, 1.0)?.to_vec1::<f32>()?, [0.0; 3]);
        Ok(())
    }
}
