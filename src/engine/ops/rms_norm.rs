//! RMSNorm: `y = x / sqrt(mean(x^2) + eps) * weight`, over the last dimension.
//!
//! Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; `LlamaRMSNorm` of transformers. The
//! statistics and the product are computed in f32 (f64 for f64) whatever the dtype of `x`.
//!
//! With `r = 1 / sqrt(mean(x^2) + eps)` and `g = dy * weight`:
//! `dx = r * (g - x * r^2 * mean(g * x))`, `dweight = sum over rows of dy * x * r`.

use super::cpu::{self, Elem, acc as cast, accumulator, dispatch, prepared, rows_per_task, slices, vectorised};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{D, Tensor as Value};
use num_traits::Float;
use rayon::prelude::*;

/// RMSNorm of `x` `[.., n]` by `weight` `[n]`. The result has the shape and dtype of `x`.
///
/// # Errors
/// If the last dimension of `x` is not the length of `weight`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let _span = profile::span("rms_norm");
    let n = x.dims().last().copied().unwrap_or(0);
    if weight.dims() != [n] || n == 0 {
        return Err(Error::shape(
            "rms_norm",
            format!("weight of shape {:?} does not fit x of shape {:?}: it must be [{n}]", weight.dims(), x.dims()),
        )
        .about("x", x.dims())
        .about("weight", weight.dims()));
    }
    let value = forward(x.value(), weight.value(), eps)?;
    Ok(record("rms_norm", value, &[x, weight], |needs| {
        let (x, w, needs) = (x.value().clone(), weight.value().clone(), [needs[0], needs[1]]);
        move |dy| {
            let (dx, dw) = backward(&x, &w, eps, &dy, needs)?;
            Ok(vec![dx, dw])
        }
    }))
}

fn forward(x: &Value, w: &Value, eps: f64) -> Result<Value> {
    let acc = accumulator(x.dtype());
    if !x.device().is_cpu() {
        let h = x.to_dtype(acc)?;
        let r = ((h.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip())?;
        return Ok(h.broadcast_mul(&r)?.broadcast_mul(&w.to_dtype(acc)?)?.to_dtype(x.dtype())?);
    }
    let x = prepared(x, x.dtype())?;
    let w = prepared(w, acc)?;
    dispatch!("rms_norm", x.dtype(), T => slices!([xs: T = x, ws: <T as Elem>::Acc = w] => {
        let n = ws.len();
        assert!(xs.len().is_multiple_of(n), "rows of rms_norm");
        let mut out = cpu::room::<T>(xs.len());
        let width = n * rows_per_task(n);
        out.par_chunks_mut(width).zip(xs.par_chunks(width)).for_each(|(out, xs)| {
            vectorised(|| {
                for (out, x) in out.chunks_mut(n).zip(xs.chunks(n)) {
                    let r = inverse_rms(x, eps);
                    for ((o, x), w) in out.iter_mut().zip(x).zip(ws) {
                        o.write(T::down(x.up() * r * *w));
                    }
                }
            });
        });
        // SAFETY: x is whole rows of n elements, and every row was written.
        cpu::tensor(unsafe { cpu::written(out) }, x.dims())
    }))
}

#[inline(always)]
fn inverse_rms<T: Elem>(x: &[T], eps: f64) -> T::Acc {
    let squares: T::Acc = cpu::sum(x.len(), |i| x[i].up() * x[i].up());
    (squares / cast(x.len() as f64) + cast(eps)).sqrt().recip()
}

fn backward(x: &Value, w: &Value, eps: f64, dy: &Value, needs: [bool; 2]) -> Result<(Option<Value>, Option<Value>)> {
    let acc = accumulator(x.dtype());
    if !x.device().is_cpu() {
        let (h, g) = (x.to_dtype(acc)?, dy.to_dtype(acc)?);
        let r = ((h.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip())?;
        let dw = if needs[1] {
            let n = w.dims1()?;
            Some((&g * h.broadcast_mul(&r)?)?.reshape(((), n))?.sum(0)?.to_dtype(w.dtype())?)
        } else {
            None
        };
        if !needs[0] {
            return Ok((None, dw));
        }
        let g = g.broadcast_mul(&w.to_dtype(acc)?)?;
        let m = ((&g * &h)?.mean_keepdim(D::Minus1)? * r.sqr()?)?;
        let dx = (g - h.broadcast_mul(&m)?)?.broadcast_mul(&r)?;
        return Ok((Some(dx.to_dtype(x.dtype())?), dw));
    }
    let (w_dtype, x) = (w.dtype(), prepared(x, x.dtype())?);
    let (w, dy) = (prepared(w, acc)?, prepared(dy, x.dtype())?);
    dispatch!("rms_norm", x.dtype(), T => slices!([xs: T = x, ws: <T as Elem>::Acc = w, gs: T = dy] => {
        let n = ws.len();
        let width = n * rows_per_task(n);
        let dx = if needs[0] {
            assert!(xs.len() == gs.len() && xs.len().is_multiple_of(n), "operands of rms_norm's gradient");
            let mut dx = cpu::room::<T>(xs.len());
            dx.par_chunks_mut(width).zip(xs.par_chunks(width)).zip(gs.par_chunks(width)).for_each(|((dx, xs), gs)| {
                vectorised(|| {
                    for ((dx, x), g) in dx.chunks_mut(n).zip(xs.chunks(n)).zip(gs.chunks(n)) {
                        let r = inverse_rms(x, eps);
                        let dot: <T as Elem>::Acc = cpu::sum(n, |i| x[i].up() * g[i].up() * ws[i]);
                        let m = dot / cast::<<T as Elem>::Acc>(n as f64) * r * r;
                        for (((dx, x), g), w) in dx.iter_mut().zip(x).zip(g).zip(ws) {
                            dx.write(T::down(r * (g.up() * *w - x.up() * m)));
                        }
                    }
                });
            });
            // SAFETY: x and dy are as many whole rows of n elements, and every row was written.
            Some(cpu::tensor(unsafe { cpu::written(dx) }, x.dims())?)
        } else {
            None
        };
        let dw = if needs[1] {
            let mut dw = vec![<T as Elem>::Acc::default(); n];
            for (x, g) in xs.chunks(n).zip(gs.chunks(n)) {
                let r = inverse_rms(x, eps);
                for ((dw, x), g) in dw.iter_mut().zip(x).zip(g) {
                    *dw += g.up() * x.up() * r;
                }
            }
            Some(cpu::tensor(dw, &[n])?.to_dtype(w_dtype)?)
        } else {
            None
        };
        Ok((dx, dw))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use candle_core::{DType, Device};

    /// Protects training through norms: plain, strided and empty inputs.
    #[test]
    fn gradients() {
        check(&[sample(&[2, 3, 5], 1), sample(&[5], 2)], |t| rms_norm(&t[0], &t[1], 1e-5));
        check(&[sample(&[5, 4], 3).t().unwrap(), sample(&[5], 2)], |t| rms_norm(&t[0], &t[1], 1e-5));
        check(&[sample(&[0, 5], 3), sample(&[5], 2)], |t| rms_norm(&t[0], &t[1], 1e-5));
    }

    /// The literal vector of candle-nn's `tests/ops.rs`, `rms_norm`.
    #[test]
    fn candle_vector() -> Result<()> {
        let x = Tensor::new(Value::new(&[[[3f32, 1., 4.], [1., 5., 9.]], [[2., 1., 7.], [8., 2., 8.]]], &Device::Cpu)?);
        let w = Tensor::new(Value::new(&[1f32, 2., 3.], &Device::Cpu)?);
        let y = rms_norm(&x, &w, 1e-5)?.value().flatten_all()?.to_vec1::<f32>()?;
        let want = [1.019, 0.6794, 4.0762, 0.1674, 1.6744, 4.521, 0.4714, 0.4714, 4.9497, 1.206, 0.603, 3.6181];
        assert!(y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-3), "{y:?}");
        Ok(())
    }

    /// Protects mixed precision: bf16 input, f32 statistics.
    #[test]
    fn bf16_is_close_to_f64() -> Result<()> {
        let (x, w) = (sample(&[4, 64], 1), sample(&[64], 2));
        let y = rms_norm(&Tensor::new(x.clone()), &Tensor::new(w.clone()), 1e-5)?;
        let low = rms_norm(&Tensor::new(x.to_dtype(DType::BF16)?), &Tensor::new(w.to_dtype(DType::F32)?), 1e-5)?;
        let err = (low.value().to_dtype(DType::F64)? - y.value())?.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(low.dtype() == DType::BF16 && err < 0.03, "{err}");
        Ok(())
    }
}
