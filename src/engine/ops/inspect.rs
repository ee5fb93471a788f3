//! Looking at a tensor's values as a whole: how many are NaN or infinite.

use super::cpu;
use crate::engine::error::Result;
use candle_core::{DType, Tensor as Value};
use rayon::prelude::*;

/// Elements per task.
const CHUNK: usize = 65_536;

/// How many elements are NaN, and how many infinite; none for integers.
pub fn nonfinite(value: &Value) -> Result<(usize, usize)> {
    if value.elem_count() == 0 || !value.dtype().is_float() {
        return Ok((0, 0));
    }
    if !value.device().is_cpu() {
        let count =
            |mask: Value| -> Result<usize> { Ok(mask.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()? as usize) };
        let wide = value.to_dtype(DType::F32)?;
        return Ok((count(wide.ne(&wide)?)?, count(wide.abs()?.eq(f64::INFINITY)?)?));
    }
    let value = value.contiguous()?;
    cpu::dispatch!("inspect", value.dtype(), T => cpu::slices!([data: T = value] => {
        let part = |data: &[T]| data.iter().fold((0, 0), |(nan, inf), x| {
            (nan + usize::from(x.is_nan()), inf + usize::from(x.is_infinite()))
        });
        Ok(data.par_chunks(CHUNK).map(part).reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Protects the printed counts, in every dtype and through views.
    #[test]
    fn counts() -> Result<()> {
        let x = Value::new(&[[1.0, f64::NAN, f64::INFINITY], [f64::NEG_INFINITY, 0.0, 2.0]], &Device::Cpu)?;
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            assert_eq!(nonfinite(&x.to_dtype(dtype)?.t()?)?, (1, 2));
        }
        assert_eq!(nonfinite(&Value::new(&[1i64], &Device::Cpu)?)?, (0, 0));
        Ok(())
    }
}
