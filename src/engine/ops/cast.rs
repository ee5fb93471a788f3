//! Another dtype, another device. The gradient comes back in the input's own.

use super::budget;
use crate::engine::autograd::{Tensor, record};
use crate::engine::error::{Error, Result};
use crate::engine::profile;
use candle_core::{DType, Device, Tensor as Value};

/// Dtypes that scripts may name.
pub const DTYPES: [DType; 7] = [DType::F32, DType::BF16, DType::F16, DType::F64, DType::I64, DType::U32, DType::U8];

/// The dtype called `name`, e.g. `"bf16"`.
pub fn parse_dtype(name: &str) -> Result<DType> {
    DTYPES
        .into_iter()
        .find(|d| d.as_str() == name)
        .ok_or_else(|| crate::engine::error::unknown_name("dtype", name, DTYPES.iter().map(DType::as_str)))
}

/// `x` as `dtype`; `x` itself if it already is. Integer results have no gradient.
pub fn to_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let from = x.dtype();
    if from == dtype {
        return Ok(x.clone());
    }
    let _span = profile::span("to");
    budget::elements("to", x.dims(), dtype)?;
    let value = convert(x.value(), dtype)?;
    if !dtype.is_float() {
        return Ok(Tensor::new(value));
    }
    Ok(record("to", value, &[x], |_| move |grad| Ok(vec![Some(convert(&grad, from)?)])))
}

fn convert(value: &Value, dtype: DType) -> Result<Value> {
    if value.elem_count() == 0 {
        return Ok(Value::zeros(value.dims(), dtype, value.device())?);
    }
    Ok(value.to_dtype(dtype)?)
}

/// `x` on `device`; `x` itself if it is there.
pub fn to_device(x: &Tensor, device: &Device) -> Result<Tensor> {
    if x.device().same_device(device) {
        return Ok(x.clone());
    }
    let _span = profile::span("to");
    let from = x.device().clone();
    let moved = |value: &Value, device: &Device| {
        value.to_device(device).map_err(|e| Error::device(format!("moving a tensor of shape {:?}: {e}", value.dims())))
    };
    let value = moved(x.value(), device)?;
    Ok(record("to", value, &[x], |_| move |grad: Value| Ok(vec![Some(moved(&grad, &from)?)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::autograd::gradcheck::{check, sample};

    /// Protects mixed precision: a gradient has the dtype of what it belongs to, and passes unchanged otherwise.
    #[test]
    fn gradient_keeps_the_inputs_dtype() -> Result<()> {
        for dtype in [DType::BF16, DType::F16, DType::F64] {
            let x = Tensor::parameter(Value::new(&[1f32, 2.0], &Device::Cpu)?)?;
            let y = to_dtype(&x, dtype)?;
            assert_eq!(y.dtype(), dtype);
            crate::engine::autograd::backward(&[(y.clone(), y.value().ones_like()?)])?;
            let grad = x.grad().unwrap();
            assert_eq!((grad.dtype(), grad.to_vec1::<f32>()?), (DType::F32, vec![1.0, 1.0]));
        }
        check(&[sample(&[3, 2], 1).t().unwrap()], |t| to_dtype(&to_dtype(&t[0], DType::F64)?, DType::F64));
        Ok(())
    }

    /// Protects scripts: integers carry no gradient, unknown names are told, empty tensors convert.
    #[test]
    fn edges() -> Result<()> {
        let x = Tensor::parameter(Value::new(&[1.9f32, -2.0], &Device::Cpu)?)?;
        let i = to_dtype(&x, DType::I64)?;
        assert!(!i.requires_grad());
        assert_eq!(i.value().to_vec1::<i64>()?, [1, -2]);
        assert!(parse_dtype("bf61").unwrap_err().help().unwrap().contains("bf16"));
        let empty = Tensor::new(Value::zeros((2, 0), DType::F32, &Device::Cpu)?.t()?);
        assert_eq!(to_dtype(&empty, DType::BF16)?.dims(), [0, 2]);
        Ok(())
    }
}
