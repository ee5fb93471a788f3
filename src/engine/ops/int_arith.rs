//! Elementwise arithmetic of integer tensors, wrapping around as PyTorch's does.
//!
//! candle's own integer kernels panic on overflow in a build with overflow checks; a script must not be able to do that.

use super::cpu;
use crate::engine::error::{Error, Result};
use candle_core::{DType, Tensor as Value};

/// An operation of two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntOp {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a * b
    Mul,
    /// a to the power of b, b not negative
    Pow,
}

macro_rules! wrapping {
    ($t:ty, $kind:expr, $a:expr, $b:expr) => {{
        let (a, b) = ($a.contiguous()?, $b.contiguous()?);
        cpu::slices!([x: $t = a, y: $t = b] => {
            let pairs = x.iter().zip(y);
            let out: Vec<$t> = match $kind {
                IntOp::Add => pairs.map(|(x, y)| x.wrapping_add(*y)).collect(),
                IntOp::Sub => pairs.map(|(x, y)| x.wrapping_sub(*y)).collect(),
                IntOp::Mul => pairs.map(|(x, y)| x.wrapping_mul(*y)).collect(),
                IntOp::Pow => pairs.map(|(x, y)| x.wrapping_pow((*y).min(u32::MAX as $t) as u32)).collect(),
            };
            cpu::tensor(out, a.dims())
        })
    }};
}

/// `a op b`: one shape, one integer dtype.
///
/// # Errors
/// For a negative exponent.
pub fn apply(op: &'static str, kind: IntOp, a: &Value, b: &Value) -> Result<Value> {
    if kind == IntOp::Pow && b.elem_count() > 0 && b.lt(0f64)?.max_all()?.to_scalar::<u8>()? > 0 {
        return Err(Error::config_help(
            format!("{op}: an integer to a negative power is not an integer"),
            "convert the base first, e.g. with to(\"f32\")",
        ));
    }
    if !a.device().is_cpu() {
        return Ok(match kind {
            IntOp::Add => (a + b)?,
            IntOp::Sub => (a - b)?,
            IntOp::Mul => (a * b)?,
            IntOp::Pow => {
                let power = a.to_dtype(DType::F64)?.pow(&b.to_dtype(DType::F64)?)?;
                (power + 0.5)?.floor()?.to_dtype(a.dtype())?
            }
        });
    }
    let dtype = a.dtype();
    match dtype {
        DType::U8 => wrapping!(u8, kind, a, b),
        DType::U32 => wrapping!(u32, kind, a, b),
        DType::I64 => wrapping!(i64, kind, a, b),
        _ => {
            let (a, b) = (a.to_dtype(DType::I64)?, b.to_dtype(DType::I64)?);
            Ok(apply(op, kind, &a, &b)?.to_dtype(dtype)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Protects the process: overflow wraps, and a negative power is an error.
    #[test]
    fn wraps() -> Result<()> {
        let new = |v: &[i64]| Value::new(v, &Device::Cpu);
        let (a, b) = (new(&[i64::MAX, 2])?, new(&[1, 3])?);
        assert_eq!(apply("add", IntOp::Add, &a, &b)?.to_vec1::<i64>()?, [i64::MIN, 5]);
        assert_eq!(apply("pow", IntOp::Pow, &a, &b)?.to_vec1::<i64>()?, [i64::MAX, 8]);
        assert!(apply("pow", IntOp::Pow, &a, &new(&[1, -1])?).is_err());
        let (a, b) = (Value::new(&[1u8], &Device::Cpu)?, Value::new(&[2u8], &Device::Cpu)?);
        assert_eq!(apply("sub", IntOp::Sub, &a, &b)?.to_vec1::<u8>()?, [255]);
        Ok(())
    }
}
