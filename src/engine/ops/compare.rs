//! Elementwise comparisons: `a == b`, `!=`, `<`, `<=`, `>`, `>=`, broadcasting. The result is a mask: u8, 1 where it
//! holds. There is no gradient.

use super::operands::{Number, expand, meet};
use super::{budget, cast};
use crate::engine::autograd::Tensor;
use crate::engine::error::Result;
use candle_core::{DType, Tensor as Value};

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// a == b
    Eq,
    /// a != b
    Ne,
    /// a < b
    Lt,
    /// a <= b
    Le,
    /// a > b
    Gt,
    /// a >= b
    Ge,
}

impl Comparison {
    fn name(self) -> &'static str {
        match self {
            Comparison::Eq => "==",
            Comparison::Ne => "!=",
            Comparison::Lt => "<",
            Comparison::Le => "<=",
            Comparison::Gt => ">",
            Comparison::Ge => ">=",
        }
    }

    /// The same with its sides exchanged: `2 < t` is `t > 2`.
    pub fn mirrored(self) -> Self {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            same => same,
        }
    }
}

/// Where `a` compares to `b` like that.
pub fn compare(comparison: Comparison, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b, dims) = meet(comparison.name(), &a.detach(), &b.detach())?;
    if budget::elements(comparison.name(), &dims, DType::U8)? == 0 {
        return Ok(Tensor::new(Value::zeros(dims, DType::U8, a.device())?));
    }
    let (a, b) = (expand(a.value(), &dims)?, expand(b.value(), &dims)?);
    Ok(Tensor::new(match comparison {
        Comparison::Eq => a.eq(&b)?,
        Comparison::Ne => a.ne(&b)?,
        Comparison::Lt => a.lt(&b)?,
        Comparison::Le => a.le(&b)?,
        Comparison::Gt => a.gt(&b)?,
        Comparison::Ge => a.ge(&b)?,
    }))
}

/// Where `x` compares to `n` like that. The number is rounded to a floating-point tensor's dtype, as in PyTorch; an
/// integer tensor is compared as f64 with a float and as i64 with an integer, so that nothing is rounded.
pub fn compare_number(comparison: Comparison, x: &Tensor, n: impl Into<Number>) -> Result<Tensor> {
    let n = n.into();
    let dtype = match (n, x.dtype()) {
        (Number::Float(_), d) if d.is_int() => DType::F64,
        (Number::Int(_), d) if d.is_int() => DType::I64,
        (_, d) => d,
    };
    let x = cast::to_dtype(&x.detach(), dtype)?;
    compare(comparison, &x, &n.constant(comparison.name(), dtype, &x)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Protects masks: every comparison, broadcasting, mixed dtypes, numbers on both sides, NaN, empty.
    #[test]
    fn masks() -> Result<()> {
        let cpu = &Device::Cpu;
        let a = Tensor::parameter(Value::new(&[[1f32, 2.0, f32::NAN]], cpu)?)?;
        let b = Tensor::new(Value::new(&[[1i64], [2]], cpu)?);
        let bits = |t: Tensor| {
            assert!(t.dtype() == DType::U8 && !t.requires_grad());
            t.value().flatten_all().unwrap().to_vec1::<u8>().unwrap()
        };
        use Comparison::*;
        for (c, want) in [
            (Eq, [1, 0, 0, 0, 1, 0]),
            (Ne, [0, 1, 1, 1, 0, 1]),
            (Lt, [0, 0, 0, 1, 0, 0]),
            (Le, [1, 0, 0, 1, 1, 0]),
            (Gt, [0, 1, 0, 0, 0, 0]),
            (Ge, [1, 1, 0, 0, 1, 0]),
        ] {
            assert_eq!(bits(compare(c, &a, &b)?), want, "{c:?}");
            assert_eq!(bits(compare(c.mirrored(), &b, &a)?), want, "{c:?} mirrored");
        }
        assert_eq!(bits(compare_number(Lt, &b, 1.5)?), [1, 0]);
        let tokens = Tensor::new(Value::new(&[0u32, 7], cpu)?);
        assert_eq!(bits(compare_number(Ne, &tokens, -100i64)?), [1, 1]);
        let half = Tensor::new(Value::new(&[0.1f32], cpu)?.to_dtype(DType::BF16)?);
        assert_eq!(bits(compare_number(Eq, &half, 0.1)?), [1]);
        let empty = Tensor::new(Value::zeros((0, 3), DType::F32, cpu)?);
        assert_eq!(compare_number(Eq, &empty, 0i64)?.dims(), [0, 3]);
        assert!(compare(Eq, &a, &Tensor::new(Value::zeros(2, DType::F32, cpu)?)).is_err());
        Ok(())
    }
}
