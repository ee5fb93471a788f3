//! SwiGLU's gate: `y = silu(gate) * up`, with `silu(g) = g * sigmoid(g)`, in one pass.
//!
//! Source: Shazeer, "GLU Variants Improve Transformer", 2020. With `s = sigmoid(g)`:
//! `dgate = dy * up * s * (1 + g * (1 - s))`, `dup = dy * g * s`.

use super::cpu::{self, Elem, Exp, dispatch, prepared, slices, vectorised};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::Tensor as Value;
use num_traits::One;
use rayon::prelude::*;

const CHUNK: usize = 8_192;

/// `silu(gate) * up`, elementwise: both of one shape and dtype.
///
/// # Errors
/// If shapes or dtypes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let _span = profile::span("swiglu");
    if gate.dims() != up.dims() {
        return Err(Error::shape(
            "swiglu",
            format!("gate {:?} and up {:?} must have one shape", gate.dims(), up.dims()),
        )
        .about("left", gate.dims())
        .about("right", up.dims()));
    }
    if gate.dtype() != up.dtype() {
        return Err(Error::dtype(
            "swiglu",
            format!("gate is {}, up is {}", gate.dtype().as_str(), up.dtype().as_str()),
        )
        .advise(format!("both must be one: convert with to(\"{}\")", gate.dtype().as_str()))
        .about("left", gate.dtype())
        .about("right", up.dtype()));
    }
    let value = forward(gate.value(), up.value())?;
    Ok(record("swiglu", value, &[gate, up], |_| {
        let (g, u) = (gate.value().clone(), up.value().clone());
        move |dy| {
            let (dg, du) = backward(&g, &u, &dy)?;
            Ok(vec![Some(dg), Some(du)])
        }
    }))
}

#[inline(always)]
fn sigmoid<A: Exp>(x: A) -> A {
    (A::one() + (-x).fast_exp()).recip()
}

fn forward(g: &Value, u: &Value) -> Result<Value> {
    if !g.device().is_cpu() {
        return Ok((g.silu()? * u)?);
    }
    let (g, u) = (prepared(g, g.dtype())?, prepared(u, u.dtype())?);
    dispatch!("swiglu", g.dtype(), T => slices!([gs: T = g, us: T = u] => {
        assert_eq!(gs.len(), us.len(), "operands of swiglu");
        let mut out = cpu::room::<T>(gs.len());
        out.par_chunks_mut(CHUNK).zip(gs.par_chunks(CHUNK)).zip(us.par_chunks(CHUNK)).for_each(|((out, gs), us)| {
            vectorised(|| {
                for ((o, g), u) in out.iter_mut().zip(gs).zip(us) {
                    let g = g.up();
                    o.write(T::down(g * sigmoid(g) * u.up()));
                }
            });
        });
        // SAFETY: gate and up have as many elements, and each chunk was written from its own.
        cpu::tensor(unsafe { cpu::written(out) }, g.dims())
    }))
}

fn backward(g: &Value, u: &Value, dy: &Value) -> Result<(Value, Value)> {
    if !g.device().is_cpu() {
        let s = candle_nn::ops::sigmoid(g)?;
        let silu = (g * &s)?;
        let slope = (&s + (&silu * (1.0 - &s)?)?)?;
        return Ok((((dy * u)? * slope)?, (dy * silu)?));
    }
    let (g, u, dy) = (prepared(g, g.dtype())?, prepared(u, u.dtype())?, prepared(dy, g.dtype())?);
    dispatch!("swiglu", g.dtype(), T => slices!([gs: T = g, us: T = u, ys: T = dy] => {
        assert_eq!((gs.len(), gs.len()), (us.len(), ys.len()), "operands of swiglu's gradient");
        let (mut dg, mut du) = (cpu::room::<T>(gs.len()), cpu::room::<T>(gs.len()));
        dg.par_chunks_mut(CHUNK)
            .zip(du.par_chunks_mut(CHUNK))
            .zip(gs.par_chunks(CHUNK))
            .zip(us.par_chunks(CHUNK))
            .zip(ys.par_chunks(CHUNK))
            .for_each(|((((dg, du), gs), us), ys)| {
                vectorised(|| {
                    // Slices of one length: a chain of five iterators is not vectorised for 16 bits.
                    let n = dg.len();
                    let (du, gs, us, ys) = (&mut du[..n], &gs[..n], &us[..n], &ys[..n]);
                    for i in 0..n {
                        let (g, y) = (gs[i].up(), ys[i].up());
                        let s = sigmoid(g);
                        let slope = s * (<T as Elem>::Acc::one() + g * (<T as Elem>::Acc::one() - s));
                        du[i].write(T::down(y * g * s));
                        dg[i].write(T::down(y * us[i].up() * slope));
                    }
                });
            });
        // SAFETY: the five have one length, and the loops went through all of it.
        let (dg, du) = unsafe { (cpu::written(dg), cpu::written(du)) };
        Ok((cpu::tensor(dg, g.dims())?, cpu::tensor(du, g.dims())?))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};

    /// Protects the MLP's gradient: plain, strided, empty.
    #[test]
    fn gradients() {
        check(&[sample(&[3, 4], 1), sample(&[3, 4], 2)], |t| swiglu(&t[0], &t[1]));
        check(&[sample(&[4, 3], 1).t().unwrap(), sample(&[3, 4], 2)], |t| swiglu(&t[0], &t[1]));
        check(&[sample(&[0, 4], 1), sample(&[0, 4], 2)], |t| swiglu(&t[0], &t[1]));
    }
}
