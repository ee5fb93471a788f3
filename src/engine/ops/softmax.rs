//! softmax and log_softmax over any dimension: `y_i = exp(x_i - m) / Σ exp(x_j - m)`, with m the greatest element.
//!
//! `dx = y (dy - Σ y dy)`; for the logarithm `dx = dy - exp(y) Σ dy`. Computed in f32 for bf16 and f16; under autocast the
//! result stays f32. Fused and threaded on the CPU; on CUDA candle's operations.

use super::budget;
use super::cast;
use super::cpu::{self, Elem, Exp, dispatch, prepared, slices};
use super::operands::{dim as dimension, floating, wide};
use crate::engine::autograd::{Autocast, Tensor, autocast, record};
use crate::engine::error::Result;
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};
use num_traits::{Float, Zero};
use rayon::prelude::*;

/// exp(x) divided by its sum over `dim`.
pub fn softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    normalised("softmax", x, dim, false)
}

/// The logarithm of [`softmax`], without its underflow.
pub fn log_softmax(x: &Tensor, dim: i64) -> Result<Tensor> {
    normalised("log_softmax", x, dim, true)
}

fn normalised(op: &'static str, x: &Tensor, dim: i64, log: bool) -> Result<Tensor> {
    let _span = profile::span(op);
    let mut x = floating(x)?;
    budget::elements(op, x.dims(), x.dtype())?;
    if autocast() != Autocast::Off && matches!(x.dtype(), DType::BF16 | DType::F16) {
        x = cast::to_dtype(&x, DType::F32)?;
    }
    if x.rank() == 0 && matches!(dim, 0 | -1) {
        // As PyTorch: one number is a distribution over itself.
        let one = super::shape::unsqueeze(&x, 0)?;
        return super::shape::squeeze(&normalised(op, &one, 0, log)?, Some(0));
    }
    let dim = dimension(op, x.dims(), dim)?;
    let value = last(x.value(), dim, |x| forward(x, log))?;
    Ok(record(op, value.clone(), &[&x], |_| {
        move |dy: Value| {
            let dy = dy.transpose(dim, dy.rank() - 1)?;
            Ok(vec![Some(last(&value, dim, |y| backward(y, &dy, log))?)])
        }
    }))
}

/// `f` of `x` with dimension `dim` moved to the end, and back again.
fn last(x: &Value, dim: usize, f: impl FnOnce(&Value) -> Result<Value>) -> Result<Value> {
    let end = x.rank() - 1;
    Ok(f(&x.transpose(dim, end)?)?.transpose(dim, end)?)
}

fn forward(x: &Value, log: bool) -> Result<Value> {
    let x = prepared(x, x.dtype())?;
    if x.elem_count() == 0 {
        return Ok(x);
    }
    if !x.device().is_cpu() {
        let wider = x.to_dtype(wide(x.dtype()))?;
        let end = x.rank() - 1;
        let y = if log { candle_nn::ops::log_softmax(&wider, end)? } else { candle_nn::ops::softmax(&wider, end)? };
        return Ok(y.to_dtype(x.dtype())?);
    }
    let width = x.dims()[x.rank() - 1];
    dispatch!("softmax", x.dtype(), T => slices!([xs: T = x] => {
        let mut out = vec![T::zero(); xs.len()];
        let rows = out.par_chunks_mut(width).zip(xs.par_chunks(width)).with_min_len(cpu::rows_per_task(width));
        rows.for_each(|(out, xs)| {
            type A<T> = <T as Elem>::Acc;
            let greatest = xs.iter().fold(A::<T>::neg_infinity(), |m, x| m.max(x.up()));
            let total: A<T> = xs.iter().map(|x| (x.up() - greatest).fast_exp()).sum();
            let (ln, scale) = (total.ln(), total.recip());
            for (o, x) in out.iter_mut().zip(xs) {
                let x = x.up() - greatest;
                *o = T::down(if log { x - ln } else { x.fast_exp() * scale });
            }
        });
        cpu::tensor(out, x.dims())
    }))
}

fn backward(y: &Value, dy: &Value, log: bool) -> Result<Value> {
    let (y, dy) = (prepared(y, y.dtype())?, prepared(dy, y.dtype())?);
    if y.elem_count() == 0 {
        return Ok(y);
    }
    let dtype = y.dtype();
    let end = y.rank() - 1;
    if !y.device().is_cpu() {
        let (y, dy) = (y.to_dtype(wide(dtype))?, dy.to_dtype(wide(dtype))?);
        let dx = if log {
            (&dy - y.exp()?.broadcast_mul(&dy.sum_keepdim(end)?)?)?
        } else {
            (&y * dy.broadcast_sub(&(&y * &dy)?.sum_keepdim(end)?)?)?
        };
        return Ok(dx.to_dtype(dtype)?);
    }
    let width = y.dims()[end];
    dispatch!("softmax", dtype, T => slices!([ys: T = y, dys: T = dy] => {
        let mut out = vec![T::zero(); ys.len()];
        let rows = out.par_chunks_mut(width).zip(ys.par_chunks(width)).zip(dys.par_chunks(width));
        rows.with_min_len(cpu::rows_per_task(width)).for_each(|((out, ys), dys)| {
            let total = ys.iter().zip(dys).fold(<T as Elem>::Acc::zero(), |sum, (y, dy)| {
                sum + if log { dy.up() } else { y.up() * dy.up() }
            });
            for ((o, y), dy) in out.iter_mut().zip(ys).zip(dys) {
                let (y, dy) = (y.up(), dy.up());
                *o = T::down(if log { dy - y.exp() * total } else { y * (dy - total) });
            }
        });
        cpu::tensor(out, y.dims())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::autocast_guard;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::{close_in_low_precision, f64s};
    use candle_core::Device;

    /// Protects both gradients: every dimension, strided, empty, a single number.
    #[test]
    fn gradients() {
        let strided = sample(&[4, 3, 2], 2).permute((2, 0, 1)).unwrap();
        for x in [sample(&[2, 4, 3], 1), strided, sample(&[2, 0, 3], 3)] {
            for dim in [0, 1, 2, -1] {
                check(std::slice::from_ref(&x), |t| softmax(&t[0], dim));
                check(std::slice::from_ref(&x), |t| log_softmax(&t[0], dim));
            }
        }
        check(&[sample(&[], 1)], |t| softmax(&t[0], 0));
        close_in_low_precision(&[sample(&[4, 9], 1)], |t| log_softmax(&t[0], -1));
        close_in_low_precision(&[sample(&[4, 9], 1)], |t| softmax(&t[0], 0));
    }

    /// Protects large logits, masked ones (-inf), and autocast's promise of f32.
    #[test]
    fn values() -> Result<()> {
        let cpu = &Device::Cpu;
        let x = Tensor::new(Value::new(&[1000f32, 1000.0, f32::NEG_INFINITY], cpu)?);
        assert_eq!(f64s(softmax(&x, 0)?.value()), [0.5, 0.5, 0.0]);
        assert!((f64s(log_softmax(&x, 0)?.value())[0] + std::f64::consts::LN_2).abs() < 1e-6);
        let half = Tensor::new(x.value().to_dtype(DType::BF16)?);
        assert_eq!(softmax(&half, 0)?.dtype(), DType::BF16);
        let _policy = autocast_guard(Autocast::Bf16);
        assert_eq!(softmax(&half, 0)?.dtype(), DType::F32);
        Ok(())
    }
}
