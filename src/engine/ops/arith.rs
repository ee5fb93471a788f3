//! Elementwise arithmetic with PyTorch's broadcasting and promotion: `a + b`, `a - b`, `a * b`, `a / b`, maximum,
//! minimum, negation, absolute value, clamp. Powers are in [`super::pow`].
//!
//! With dy the gradient of the result, summed over what was broadcast:
//!
//! | op | da | db |
//! | --- | --- | --- |
//! | a + b | dy | dy |
//! | a - b | dy | -dy |
//! | a * b | dy b | dy a |
//! | a / b | dy / b | -dy a / b² |
//! | max(a, b) | dy where a > b, dy/2 where a = b | dy where b > a, dy/2 where a = b |
//!
//! Division of integers gives f32; the other operations keep integers and wrap around.

use super::budget;
use super::int_arith::{self, IntOp};
use super::operands::{Number, expand, floating, meet, sum_to, wide, zeros};
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::ops::cast;
use crate::engine::profile;
use candle_core::{DType, Tensor as Value};

/// One of the operations of two tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Op::Add => "add",
            Op::Sub => "sub",
            Op::Mul => "mul",
            Op::Div => "div",
            Op::Max => "maximum",
            Op::Min => "minimum",
        }
    }

    /// The result for operands of one shape and dtype.
    fn forward(self, a: &Value, b: &Value) -> Result<Value> {
        if a.dtype().is_int() {
            let kind = match self {
                Op::Add => IntOp::Add,
                Op::Sub => IntOp::Sub,
                Op::Mul => IntOp::Mul,
                Op::Max => return Ok(a.maximum(b)?),
                Op::Min => return Ok(a.minimum(b)?),
                Op::Div => return Err(Error::dtype("div", "integers have to be converted first")),
            };
            return int_arith::apply(self.name(), kind, a, b);
        }
        Ok(match self {
            Op::Add => (a + b)?,
            Op::Sub => (a - b)?,
            Op::Mul => (a * b)?,
            Op::Div => (a / b)?,
            // candle returns `a` where `b` is NaN; PyTorch, and whoever looks for NaNs, wants NaN from either.
            Op::Max => b.ne(b)?.where_cond(b, &a.maximum(b)?)?,
            Op::Min => b.ne(b)?.where_cond(b, &a.minimum(b)?)?,
        })
    }
}

/// `a op b` for any two tensors.
fn binary(op: Op, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let _span = profile::span(op.name());
    let (a, b, dims) = meet(op.name(), a, b)?;
    let (a, b) = if op == Op::Div { (floating(&a)?, floating(&b)?) } else { (a, b) };
    let value = if dims.contains(&0) {
        zeros(&dims, a.value())?
    } else {
        op.forward(&expand(a.value(), &dims)?, &expand(b.value(), &dims)?)?
    };
    Ok(record(op.name(), value, &[&a, &b], |needs| {
        let (need_a, need_b) = (needs[0], needs[1]);
        let (a_dims, b_dims) = (a.dims().to_vec(), b.dims().to_vec());
        // Only what the wanted gradients look at is kept.
        let keep_a = match op {
            Op::Add | Op::Sub => false,
            Op::Mul | Op::Div => need_b,
            Op::Max | Op::Min => true,
        };
        let keep_b = match op {
            Op::Add | Op::Sub => false,
            Op::Mul => need_a,
            Op::Div | Op::Max | Op::Min => true,
        };
        let a = keep_a.then(|| a.value().clone());
        let b = keep_b.then(|| b.value().clone());
        move |dy: Value| {
            if dy.elem_count() == 0 {
                return Ok(vec![
                    need_a.then(|| zeros(&a_dims, &dy)).transpose()?,
                    need_b.then(|| zeros(&b_dims, &dy)).transpose()?,
                ]);
            }
            let a = a.map(|a| expand(&a, dy.dims())).transpose()?;
            let b = b.map(|b| expand(&b, dy.dims())).transpose()?;
            let da = if need_a { Some(sum_to(&grad_a(op, &dy, a.as_ref(), b.as_ref())?, &a_dims)?) } else { None };
            let db = if need_b { Some(sum_to(&grad_b(op, &dy, a.as_ref(), b.as_ref())?, &b_dims)?) } else { None };
            Ok(vec![da, db])
        }
    }))
}

fn grad_a(op: Op, dy: &Value, a: Option<&Value>, b: Option<&Value>) -> Result<Value> {
    Ok(match (op, a, b) {
        (Op::Mul, _, Some(b)) => (dy * b)?,
        (Op::Div, _, Some(b)) => (dy / b)?,
        (Op::Max, Some(a), Some(b)) => chosen(dy, a, b)?,
        (Op::Min, Some(a), Some(b)) => chosen(dy, b, a)?,
        _ => dy.clone(),
    })
}

fn grad_b(op: Op, dy: &Value, a: Option<&Value>, b: Option<&Value>) -> Result<Value> {
    Ok(match (op, a, b) {
        (Op::Sub, ..) => dy.neg()?,
        (Op::Mul, Some(a), _) => (dy * a)?,
        (Op::Div, Some(a), Some(b)) => ((dy / b)? * (a / b)?.neg()?)?,
        (Op::Max, Some(a), Some(b)) => chosen(dy, b, a)?,
        (Op::Min, Some(a), Some(b)) => chosen(dy, a, b)?,
        _ => dy.clone(),
    })
}

/// `dy` where `winner > loser`, half of it where they are equal.
fn chosen(dy: &Value, winner: &Value, loser: &Value) -> Result<Value> {
    let share = (winner.gt(loser)?.to_dtype(dy.dtype())? + winner.ge(loser)?.to_dtype(dy.dtype())?)?;
    Ok((dy * (share * 0.5)?)?)
}

/// `f(x, n)` with the number as a constant; bf16 and f16 meet it in f32, so that it is not rounded first.
pub(super) fn with_number(
    op: &'static str,
    x: &Tensor,
    n: Number,
    f: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let dtype = n.meets(x.dtype());
    let x = cast::to_dtype(x, wide(dtype))?;
    cast::to_dtype(&f(&x, &n.constant(op, wide(dtype), &x)?)?, dtype)
}

/// `a + b`.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Op::Add, a, b)
}

/// `a - b`.
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Op::Sub, a, b)
}

/// `a * b`.
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Op::Mul, a, b)
}

/// `a / b`; f32 for integers.
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Op::Div, a, b)
}

/// The greater of the two, NaN if either is.
pub fn maximum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Op::Max, a, b)
}

/// The lesser of the two, NaN if either is.
pub fn minimum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(Op::Min, a, b)
}

/// `x + n`.
pub fn add_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("add", x, n.into(), add)
}

/// `x - n`.
pub fn sub_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("sub", x, n.into(), sub)
}

/// `n - x`.
pub fn number_sub(n: impl Into<Number>, x: &Tensor) -> Result<Tensor> {
    with_number("sub", x, n.into(), |x, n| sub(n, x))
}

/// `x * n`.
pub fn mul_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("mul", x, n.into(), mul)
}

/// `x / n`; f32 for an integer tensor.
pub fn div_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("div", &floating(x)?, n.into(), div)
}

/// `n / x`; f32 for an integer tensor.
pub fn number_div(n: impl Into<Number>, x: &Tensor) -> Result<Tensor> {
    with_number("div", &floating(x)?, n.into(), |x, n| div(n, x))
}

/// The greater of `x` and `n`.
pub fn maximum_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("maximum", x, n.into(), maximum)
}

/// The lesser of `x` and `n`.
pub fn minimum_number(x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    with_number("minimum", x, n.into(), minimum)
}

/// `-x`; unsigned integers wrap around.
pub fn neg(x: &Tensor) -> Result<Tensor> {
    let _span = profile::span("neg");
    if x.dtype().is_int() {
        return number_sub(0i64, x);
    }
    budget::elements("neg", x.dims(), x.dtype())?;
    Ok(record("neg", x.value().neg()?, &[x], |_| |dy: Value| Ok(vec![Some(dy.neg()?)])))
}

/// `|x|`; its gradient at 0 is 0.
pub fn abs(x: &Tensor) -> Result<Tensor> {
    let _span = profile::span("abs");
    match x.dtype() {
        DType::U8 | DType::U32 => return Ok(x.clone()),
        d if d.is_int() => return maximum(x, &neg(x)?),
        _ => {}
    }
    budget::elements("abs", x.dims(), x.dtype())?;
    Ok(record("abs", x.value().abs()?, &[x], |_| {
        let x = x.value().clone();
        move |dy: Value| Ok(vec![Some((dy * x.sign()?)?)])
    }))
}

/// `x` limited to `[low, high]`; a bound that is `None` does not bind. The gradient passes where `low <= x <= high`.
///
/// # Errors
/// If neither bound is given.
pub fn clamp(x: &Tensor, low: Option<Number>, high: Option<Number>) -> Result<Tensor> {
    let _span = profile::span("clamp");
    if low.is_none() && high.is_none() {
        return Err(Error::config("clamp: needs a lower or an upper bound"));
    }
    let dtype = low.iter().chain(&high).fold(x.dtype(), |d, n| n.meets(d));
    let x = cast::to_dtype(x, dtype)?;
    let bound = |n: Option<Number>| n.map(|n| n.constant("clamp", dtype, &x)).transpose();
    let (low, high) = (bound(low)?, bound(high)?);
    if x.is_empty() {
        return Ok(x);
    }
    let mut value = x.value().clone();
    if let Some(low) = &low {
        value = value.maximum(&expand(low.value(), x.dims())?)?;
    }
    if let Some(high) = &high {
        value = value.minimum(&expand(high.value(), x.dims())?)?;
    }
    Ok(record("clamp", value, &[&x], |_| {
        let x = x.value().clone();
        move |mut dy: Value| {
            if let Some(low) = &low {
                dy = (dy * x.ge(&expand(low.value(), x.dims())?)?.to_dtype(x.dtype())?)?;
            }
            if let Some(high) = &high {
                dy = (dy * x.le(&expand(high.value(), x.dims())?)?.to_dtype(x.dtype())?)?;
            }
            Ok(vec![Some(dy)])
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};
    use crate::engine::ops::testing::{close_in_low_precision, f32s};
    use candle_core::Device;

    /// The shapes every binary operation is checked on.
    fn pairs() -> Vec<[Value; 2]> {
        let s = |dims: &[usize], salt| sample(dims, salt);
        vec![
            [s(&[3, 4], 1), s(&[3, 4], 2)],
            [s(&[3, 4], 1), s(&[4], 2)],
            [s(&[2, 1, 3], 1), s(&[4, 1], 2)],
            [s(&[], 1), s(&[2, 2], 2)],
            [s(&[4, 3], 1).t().unwrap(), s(&[3, 6], 2).narrow(1, 1, 4).unwrap()],
            [s(&[0, 3], 1), s(&[1, 3], 2)],
        ]
    }

    /// Protects every gradient of two tensors: plain, broadcast, strided, empty.
    #[test]
    fn gradients() {
        for pair in pairs() {
            for op in [add, sub, mul, div, maximum, minimum] {
                check(&pair, |t| op(&t[0], &t[1]));
            }
        }
    }

    /// Protects the gradients of one tensor.
    #[test]
    fn gradients_with_numbers() {
        for x in [sample(&[3, 2], 1), sample(&[2, 3], 1).t().unwrap(), sample(&[2, 0], 1), sample(&[], 3)] {
            let one = std::slice::from_ref(&x);
            check(one, |t| add_number(&t[0], 2.0));
            check(one, |t| number_sub(2.0, &t[0]));
            check(one, |t| sub_number(&mul_number(&t[0], 3i64)?, 1i64));
            check(one, |t| div_number(&t[0], 3.0));
            check(one, |t| number_div(2i64, &t[0]));
            check(one, |t| neg(&t[0]));
            check(one, |t| abs(&t[0]));
            check(one, |t| clamp(&t[0], Some(Number::Float(-0.5)), Some(Number::Float(0.4))));
            check(one, |t| clamp(&t[0], None, Some(Number::Int(0))));
            check(one, |t| maximum_number(&t[0], 0.3));
        }
    }

    /// Protects PyTorch's conventions: ties share the gradient, NaN is passed on, integers divide into f32 and wrap.
    #[test]
    fn conventions() -> Result<()> {
        let cpu = &Device::Cpu;
        let a = Tensor::parameter(Value::new(&[1f32, 2.0], cpu)?)?;
        let b = Tensor::parameter(Value::new(&[1f32, 3.0], cpu)?)?;
        let y = maximum(&a, &b)?;
        crate::engine::autograd::backward(&[(y.clone(), y.value().ones_like()?)])?;
        assert_eq!(a.grad().unwrap().to_vec1::<f32>()?, [0.5, 0.0]);
        assert_eq!(b.grad().unwrap().to_vec1::<f32>()?, [0.5, 1.0]);
        let nan = Tensor::new(Value::new(&[f32::NAN, f32::NAN], cpu)?);
        for y in [maximum(&a, &nan)?, maximum(&nan, &a)?, minimum(&a, &nan)?] {
            assert!(f32s(&y).iter().all(|v| v.is_nan()));
        }
        let i = Tensor::new(Value::new(&[7i64, i64::MAX], cpu)?);
        assert_eq!(div_number(&i, 2i64)?.dtype(), DType::F32);
        assert_eq!(add_number(&i, 1i64)?.value().to_vec1::<i64>()?, [8, i64::MIN]);
        assert_eq!(add_number(&i, 0.5)?.dtype(), DType::F32);
        let u = Tensor::new(Value::new(&[1u8], cpu)?);
        assert!(add_number(&u, 300i64).unwrap_err().to_string().contains("does not fit"));
        assert_eq!(neg(&u)?.value().to_vec1::<u8>()?, [255]);
        Ok(())
    }

    /// Protects half precision: a number is not rounded to bf16 before it is used.
    #[test]
    fn numbers_meet_half_precision_in_f32() -> Result<()> {
        let x = Tensor::new(Value::new(&[3f32], &Device::Cpu)?.to_dtype(DType::BF16)?);
        // 3 * 0.1 is 0.30000001 in f32, whose nearest bf16 is 0.30078125; bf16(0.1) * 3 would be 0.302734375.
        assert_eq!(f32s(&mul_number(&x, 0.1)?), [0.300_781_25]);
        for op in [add, sub, mul, div, maximum] {
            close_in_low_precision(&[sample(&[8, 8], 1), sample(&[8], 2)], |t| op(&t[0], &t[1]));
        }
        Ok(())
    }
}
