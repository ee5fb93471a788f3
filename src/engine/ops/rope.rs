//! Rotary position embedding: each pair of components is turned by an angle that grows with the position.
//!
//! `y1 = x1 * cos - x2 * sin`, `y2 = x2 * cos + x1 * sin`; the backward is the rotation by the negative angle. Pairs are
//! `(i, i + d/2)` in [`RopeStyle::HalfSplit`] (Hugging Face) and `(2i, 2i + 1)` in [`RopeStyle::Interleaved`] (Meta).
//! Source: Su et al., "RoFormer", 2021.

use super::cpu::{self, Elem, dispatch, prepared, slices, vectorised};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{D, DType, Tensor as Value};
use num_traits::Zero;
use rayon::prelude::*;

/// Which components form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// `(i, i + d/2)`: Hugging Face's LLaMA.
    HalfSplit,
    /// `(2i, 2i + 1)`: Meta's LLaMA, llama2.c.
    Interleaved,
}

/// Turns `x` `[batch, seq, heads, head_dim]` by the angles whose `cos` and `sin` are `[seq, head_dim / 2]` (one row per
/// position of `x`, any float dtype), or `[batch, seq, head_dim / 2]` where the rows of `x` are at different positions.
/// The result has the shape and dtype of `x`.
///
/// # Errors
/// If the shapes do not fit or `head_dim` is odd.
pub fn rope(x: &Tensor, cos: &Value, sin: &Value, style: RopeStyle) -> Result<Tensor> {
    let _span = profile::span("rope");
    let dims = x.dims();
    let [b, t, _, d] = *dims else {
        return Err(
            Error::shape("rope", format!("x must be [batch, seq, heads, head_dim], not {dims:?}")).about("x", dims)
        );
    };
    let fits = cos.dims() == [t, d / 2] || cos.dims() == [b, t, d / 2];
    if d % 2 != 0 || !fits || sin.dims() != cos.dims() {
        return Err(Error::shape(
            "rope",
            format!(
                "x {dims:?} needs cos and sin of shape {:?}, got {:?} and {:?}",
                [t, d / 2],
                cos.dims(),
                sin.dims()
            ),
        ));
    }
    let value = turn(x.value(), cos, sin, style, 1.0)?;
    Ok(record("rope", value, &[x], |_| {
        let (cos, sin) = (cos.clone(), sin.clone());
        move |dy| Ok(vec![Some(turn(&dy, &cos, &sin, style, -1.0)?)])
    }))
}

fn turn(x: &Value, cos: &Value, sin: &Value, style: RopeStyle, direction: f64) -> Result<Value> {
    let acc = cpu::accumulator(x.dtype());
    if !x.device().is_cpu() {
        return composed(x, cos, sin, style, direction, acc);
    }
    let (b, t, heads, d) = x.dims4()?;
    let half = d / 2;
    let rows = (cos.elem_count() / half.max(1)).max(1); // seq, or batch * seq
    let x = prepared(x, x.dtype())?;
    let cos = prepared(cos, acc)?;
    let sin = prepared(&(sin * direction)?, acc)?;
    dispatch!("rope", x.dtype(), T => slices!([xs: T = x, cs: <T as Elem>::Acc = cos, ss: <T as Elem>::Acc = sin] => {
        let mut out = vec![T::zero(); xs.len()];
        let row = (heads * d).max(1); // one position: all its heads
        let positions = cpu::rows_per_task(row);
        let one = |position: usize, out: &mut [T], x: &[T]| {
            let at = position % rows * half;
            let (cs, ss) = (&cs[at..at + half], &ss[at..at + half]);
            for (out, x) in out.chunks_mut(d).zip(x.chunks(d)) {
                match style {
                    RopeStyle::HalfSplit => {
                        let (o1, o2) = out.split_at_mut(half);
                        let (x1, x2) = x.split_at(half);
                        for i in 0..half {
                            let (a, b) = (x1[i].up(), x2[i].up());
                            o1[i] = T::down(a * cs[i] - b * ss[i]);
                            o2[i] = T::down(b * cs[i] + a * ss[i]);
                        }
                    }
                    RopeStyle::Interleaved => {
                        for i in 0..half {
                            let (a, b) = (x[2 * i].up(), x[2 * i + 1].up());
                            out[2 * i] = T::down(a * cs[i] - b * ss[i]);
                            out[2 * i + 1] = T::down(b * cs[i] + a * ss[i]);
                        }
                    }
                }
            }
        };
        let width = row * positions;
        out.par_chunks_mut(width).zip(xs.par_chunks(width)).enumerate().for_each(|(task, (out, xs))| {
            vectorised(|| {
                for (i, (out, x)) in out.chunks_mut(row).zip(xs.chunks(row)).enumerate() {
                    one(task * positions + i, out, x);
                }
            });
        });
        cpu::tensor(out, &[b, t, heads, d])
    }))
}

fn composed(x: &Value, cos: &Value, sin: &Value, style: RopeStyle, direction: f64, acc: DType) -> Result<Value> {
    let (b, t, heads, d) = x.dims4()?;
    let half = d / 2;
    let rows = if cos.dims().len() == 3 { b } else { 1 };
    let cos = cos.to_dtype(acc)?.reshape((rows, t, 1, half))?;
    let sin = (sin.to_dtype(acc)? * direction)?.reshape((rows, t, 1, half))?;
    let h = x.to_dtype(acc)?;
    let (x1, x2) = match style {
        RopeStyle::HalfSplit => (h.narrow(D::Minus1, 0, half)?, h.narrow(D::Minus1, half, half)?),
        RopeStyle::Interleaved => {
            let pairs = h.reshape((b, t, heads, half, 2))?;
            (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?)
        }
    };
    let y1 = (x1.broadcast_mul(&cos)? - x2.broadcast_mul(&sin)?)?;
    let y2 = (x2.broadcast_mul(&cos)? + x1.broadcast_mul(&sin)?)?;
    let y = match style {
        RopeStyle::HalfSplit => Value::cat(&[y1, y2], 3)?,
        RopeStyle::Interleaved => Value::stack(&[y1, y2], 4)?.reshape((b, t, heads, d))?,
    };
    Ok(y.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};

    /// Protects position gradients in both pairings, strided and empty inputs included.
    #[test]
    fn gradients() {
        let (cos, sin) = (sample(&[3, 2], 8), sample(&[3, 2], 9));
        for style in [RopeStyle::HalfSplit, RopeStyle::Interleaved] {
            check(&[sample(&[2, 3, 2, 4], 1)], |t| rope(&t[0], &cos, &sin, style));
            let strided = sample(&[2, 2, 3, 4], 1).transpose(1, 2).unwrap();
            check(&[strided], |t| rope(&t[0], &cos, &sin, style));
            check(&[sample(&[0, 3, 2, 4], 1)], |t| rope(&t[0], &cos, &sin, style));
        }
    }

    /// Protects batches whose rows are at different positions: each is turned as if it were alone, on both paths.
    #[test]
    fn rows_have_their_own_positions() -> Result<()> {
        let (x, cos, sin) = (sample(&[2, 3, 2, 4], 1), sample(&[2, 3, 2], 2), sample(&[2, 3, 2], 3));
        check(std::slice::from_ref(&x), |t| rope(&t[0], &cos, &sin, RopeStyle::HalfSplit));
        for style in [RopeStyle::HalfSplit, RopeStyle::Interleaved] {
            let both = rope(&Tensor::new(x.clone()), &cos, &sin, style)?;
            let composed = composed(&x, &cos, &sin, style, 1.0, DType::F64)?;
            for row in 0..2 {
                let (cos, sin) = (cos.get(row)?, sin.get(row)?);
                let alone = rope(&Tensor::new(x.narrow(0, row, 1)?), &cos, &sin, style)?;
                for together in [both.value(), &composed] {
                    let err = (together.narrow(0, row, 1)? - alone.value())?.abs()?.max_all()?.to_scalar::<f64>()?;
                    assert!(err < 1e-12, "{style:?}, row {row}: {err}");
                }
            }
        }
        assert!(rope(&Tensor::new(x), &cos, &sin.get(0)?, RopeStyle::HalfSplit).is_err());
        Ok(())
    }

    /// Both pairings against candle-nn's reference implementations on the same numbers.
    #[test]
    fn agrees_with_candle() -> Result<()> {
        let f = |dims: &[usize], salt| sample(dims, salt).to_dtype(DType::F32).unwrap();
        let (x, cos, sin) = (f(&[2, 5, 3, 8], 1), f(&[5, 4], 2), f(&[5, 4], 3));
        let theirs_in = x.transpose(1, 2)?.contiguous()?; // [batch, heads, seq, head_dim]
        for (style, theirs) in [
            (RopeStyle::HalfSplit, candle_nn::rotary_emb::rope(&theirs_in, &cos, &sin)?),
            (RopeStyle::Interleaved, candle_nn::rotary_emb::rope_i(&theirs_in, &cos, &sin)?),
        ] {
            let ours = rope(&Tensor::new(x.clone()), &cos, &sin, style)?;
            let err = (ours.value() - theirs.transpose(1, 2)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(err < 1e-6, "{style:?}: {err}");
            // What CUDA runs must agree with the fused kernel.
            let composed = composed(&x, &cos, &sin, style, 1.0, DType::F32)?;
            let err = (ours.value() - composed)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(err < 1e-6, "{style:?} composed: {err}");
        }
        Ok(())
    }
}
