//! Powers: `y = a ** b`, with a tensor or a number on either side.
//!
//! `da = dy b a^(b-1)` (0 where b = 0), `db = dy a^b ln a` (0 where a = 0 and b >= 0), as PyTorch has it. A negative base
//! with an exponent that is no integer gives NaN.

use super::arith::with_number;
use super::cpu::{self, Elem, dispatch, prepared, slices};
use super::int_arith::{self, IntOp};
use super::operands::{Number, expand, meet, sum_to, wide, zeros};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::Result;
use crate::engine::profile;
use candle_core::Tensor as Value;
use num_traits::{Float, Zero};
use rayon::prelude::*;

const CHUNK: usize = 8_192;

/// `a ** b`, broadcasting.
///
/// # Errors
/// If the shapes do not broadcast, or an integer is raised to a negative integer power.
pub fn pow(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = profile::span("pow");
    let (a, b, dims) = meet("pow", a, b)?;
    let (x, e) = (expand(a.value(), &dims)?, expand(b.value(), &dims)?);
    let value = if dims.contains(&0) {
        zeros(&dims, a.value())?
    } else if a.dtype().is_int() {
        int_arith::apply("pow", IntOp::Pow, &x, &e)?
    } else {
        each(Part::Power, &x, &e)?
    };
    Ok(record("pow", value, &[&a, &b], |needs| {
        let needs = [needs[0], needs[1]];
        let (a_dims, b_dims) = (a.dims().to_vec(), b.dims().to_vec());
        move |dy: Value| {
            let grad = |wanted: bool, part: Part, dims: &[usize]| match wanted {
                false => Ok(None),
                true if dy.elem_count() == 0 => zeros(dims, &dy).map(Some),
                true => sum_to(&(&dy * each(part, &x, &e)?)?, dims).map(Some),
            };
            Ok(vec![grad(needs[0], Part::Base, &a_dims)?, grad(needs[1], Part::Exponent, &b_dims)?])
        }
    }))
}

/// `x ** n`.
pub fn pow_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("pow", x, n.into(), pow)
}

/// `n ** x`.
pub fn number_pow(n: impl Into<Number>, x: &Tensor) -> Result<Tensor> {
    with_number("pow", x, n.into(), |x, n| pow(n, x))
}

/// The power, or its derivative by one of the two.
#[derive(Debug, Clone, Copy)]
enum Part {
    Power,
    Base,
    Exponent,
}

impl Part {
    fn of<A: Float>(self, a: A, b: A) -> A {
        match self {
            Part::Power => a.powf(b),
            Part::Base if b.is_zero() => A::zero(),
            Part::Base => b * a.powf(b - A::one()),
            Part::Exponent if a.is_zero() && b >= A::zero() => A::zero(),
            Part::Exponent => a.powf(b) * a.ln(),
        }
    }
}

/// `part` of every pair of elements; `a` and `b` have one shape and floating-point dtype.
fn each(part: Part, a: &Value, b: &Value) -> Result<Value> {
    if !a.device().is_cpu() {
        return composed(part, a, b);
    }
    let (a, b) = (prepared(a, a.dtype())?, prepared(b, b.dtype())?);
    dispatch!("pow", a.dtype(), T => slices!([x: T = a, e: T = b] => {
        let mut out = vec![T::zero(); x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(e.par_chunks(CHUNK)).for_each(|((out, x), e)| {
            for ((o, x), e) in out.iter_mut().zip(x).zip(e) {
                *o = T::down(part.of(x.up(), e.up()));
            }
        });
        cpu::tensor(out, a.dims())
    }))
}

/// As [`each`], of candle's operations: `|a|^b`, with the sign of an odd power and NaN where a negative base has none.
fn composed(part: Part, a: &Value, b: &Value) -> Result<Value> {
    let dtype = a.dtype();
    let (a, b) = (a.to_dtype(wide(dtype))?, b.to_dtype(wide(dtype))?);
    let power = |b: &Value| -> Result<Value> {
        let size = (b * a.abs()?.log()?)?.exp()?;
        let odd = (b - ((b * 0.5)?.floor()? * 2.0)?)?.ne(0f64)?;
        let negative = a.lt(0f64)?;
        let signed = odd.where_cond(&size.neg()?, &size)?;
        let nan = (b.zeros_like()? / b.zeros_like()?)?;
        let below = b.eq(&b.floor()?)?.where_cond(&signed, &nan)?;
        let value = negative.where_cond(&below, &size)?;
        // 0 * ln 0 is NaN, but everything to the power of 0 is 1.
        Ok(b.eq(0f64)?.where_cond(&b.ones_like()?, &value)?)
    };
    let value = match part {
        Part::Power => power(&b)?,
        Part::Base => {
            let slope = (&b * power(&(&b - 1.0)?)?)?;
            b.eq(0f64)?.where_cond(&b.zeros_like()?, &slope)?
        }
        Part::Exponent => {
            let slope = (power(&b)? * a.log()?)?;
            let flat = (a.eq(0f64)? * b.ge(0f64)?)?;
            flat.where_cond(&b.zeros_like()?, &slope)?
        }
    };
    Ok(value.to_dtype(dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::close_in_low_precision;
    use candle_core::Device;

    /// Protects both gradients: positive bases, broadcast, strided, empty; and negative bases with integer exponents.
    #[test]
    fn gradients() {
        let positive = |dims: &[usize], salt| (sample(dims, salt).abs().unwrap() + 0.2).unwrap();
        for (a, b) in [
            (positive(&[3, 2], 1), sample(&[3, 2], 2)),
            (positive(&[3, 1], 1), sample(&[2], 2)),
            (positive(&[2, 3], 1).t().unwrap(), sample(&[3, 2], 2)),
            (positive(&[0, 2], 1), sample(&[2], 2)),
        ] {
            check(&[a, b], |t| pow(&t[0], &t[1]));
        }
        for n in [0i64, 1, 2, 3, -1] {
            check(&[sample(&[3, 2], 1)], |t| pow_number(&t[0], n));
        }
        check(&[positive(&[3], 1)], |t| pow_number(&t[0], 0.5));
        check(&[sample(&[3], 1)], |t| number_pow(2.0, &t[0]));
        close_in_low_precision(&[positive(&[16], 1)], |t| pow_number(&t[0], 1.5));
    }

    /// Protects the CUDA path: the composition says the same as the kernel, zeros and negative bases included.
    #[test]
    fn composition_agrees() -> Result<()> {
        let a = Value::new(&[-2f64, -2.0, -2.0, 0.0, 0.0, 3.0, 0.0, -1.5], &Device::Cpu)?;
        let b = Value::new(&[3f64, 2.0, 0.5, 0.0, 2.0, -1.0, 1.0, -1.0], &Device::Cpu)?;
        for part in [Part::Power, Part::Base, Part::Exponent] {
            let (kernel, composed) = (each(part, &a, &b)?.to_vec1::<f64>()?, composed(part, &a, &b)?.to_vec1::<f64>()?);
            for (i, (k, c)) in kernel.iter().zip(&composed).enumerate() {
                assert!((k - c).abs() < 1e-12 || (k.is_nan() && c.is_nan()), "{part:?} {i}: {k} {c}");
            }
        }
        Ok(())
    }
}
