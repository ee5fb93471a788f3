//! Tensors from nothing: constants, ranges, identity, random numbers from the session's stream.
//!
//! Sizes are checked against the memory before anything is allocated, and shapes with [`budget`]'s limits. Random numbers
//! are drawn in f64 from the counter-based stream and rounded, so that a seed gives the same tensor in every dtype up to
//! rounding, and on every device.

use super::operands::Number;
use super::{budget, cpu};
use crate::engine::error::{Error, Result};
use crate::engine::rng;
use candle_core::{DType, Device, Tensor as Value};
use rayon::prelude::*;

/// A tensor of `dims` filled with `n`.
///
/// # Errors
/// If it does not fit into memory, or the number does not fit the dtype.
pub fn full(dims: &[usize], n: Number, dtype: DType, device: &Device) -> Result<Value> {
    budget::elements("full", dims, dtype)?;
    let like = crate::engine::autograd::Tensor::new(Value::zeros((), DType::F32, device)?);
    let one = n.constant("full", dtype, &like)?;
    if dims.contains(&0) {
        return Ok(Value::zeros(dims, dtype, device)?);
    }
    Ok(one.value().broadcast_as(dims)?.contiguous()?)
}

/// `start`, `start + step`, ... below `end` (above it for a negative step), as PyTorch's `arange`.
///
/// # Errors
/// If the step is 0, or leads away from `end`, or a number is not finite.
pub fn arange(start: Number, end: Number, step: Number, dtype: DType, device: &Device) -> Result<Value> {
    let (a, b, s) = (start.as_f64(), end.as_f64(), step.as_f64());
    if !a.is_finite() || !b.is_finite() || !s.is_finite() || s == 0.0 || (b - a) / s < 0.0 {
        return Err(Error::config(format!("arange: steps of {s} do not lead from {a} to {b}")));
    }
    let count = ((b - a) / s).ceil();
    // Far above any memory; the cast below is then exact.
    let n = if count < 1e15 { count as usize } else { usize::MAX };
    budget::elements("arange", &[n], DType::F64)?;
    let value = match (start, step) {
        (Number::Int(a), Number::Int(s)) => {
            let numbers: Vec<i64> = (0..n as i64).map(|i| a.wrapping_add(i.wrapping_mul(s))).collect();
            cpu::tensor(numbers, &[n])?
        }
        _ => cpu::tensor((0..n).map(|i| a + i as f64 * s).collect::<Vec<f64>>(), &[n])?,
    };
    finish(value, dtype, device)
}

/// The n by n identity matrix.
pub fn eye(n: usize, dtype: DType, device: &Device) -> Result<Value> {
    let count = budget::elements("eye", &[n, n], dtype)?;
    budget::elements("eye", &[count], DType::F32)?;
    let mut data = vec![0f32; count];
    data.iter_mut().step_by(n + 1).for_each(|x| *x = 1.0);
    finish(cpu::tensor(data, &[n, n])?, dtype, device)
}

/// Uniform in [low, high).
pub fn rand(dims: &[usize], low: f64, high: f64, dtype: DType, device: &Device) -> Result<Value> {
    let n = random("rand", dims, dtype, [low, high])?;
    let stream = rng::take(n);
    draw(dims, n, dtype, device, |i| low + (high - low) * stream.uniform(i))
}

/// Normal with that mean and standard deviation.
pub fn randn(dims: &[usize], mean: f64, std: f64, dtype: DType, device: &Device) -> Result<Value> {
    let n = random("randn", dims, dtype, [mean, std])?;
    let stream = rng::take(n.saturating_mul(2));
    draw(dims, n, dtype, device, |i| mean + std * stream.normal(i))
}

/// Checks what every random tensor needs; its number of elements.
fn random(op: &'static str, dims: &[usize], dtype: DType, numbers: [f64; 2]) -> Result<usize> {
    if !dtype.is_float() {
        return Err(Error::dtype(op, format!("makes floating-point tensors, not {}", dtype.as_str())));
    }
    if let Some(x) = numbers.iter().find(|x| !x.is_finite()) {
        return Err(Error::config(format!("{op}: {x} is not a finite number")));
    }
    budget::elements(op, dims, dtype)
}

fn draw(dims: &[usize], n: usize, dtype: DType, device: &Device, f: impl Fn(u64) -> f64 + Sync) -> Result<Value> {
    if dtype == DType::F64 {
        let mut data = vec![0f64; n];
        data.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, x)| *x = f(i as u64));
        return finish(cpu::tensor(data, dims)?, dtype, device);
    }
    budget::elements("rand", &[n], DType::F32)?;
    let mut data = vec![0f32; n];
    data.par_iter_mut().enumerate().with_min_len(4096).for_each(|(i, x)| *x = f(i as u64) as f32);
    finish(cpu::tensor(data, dims)?, dtype, device)
}

/// `value` as `dtype` on `device`.
pub fn finish(value: Value, dtype: DType, device: &Device) -> Result<Value> {
    let value = if value.elem_count() == 0 {
        Value::zeros(value.dims(), dtype, &Device::Cpu)?
    } else {
        value.to_dtype(dtype)?
    };
    Ok(value.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::testing::f64s;

    /// Protects the constructors' values, in every dtype, and empty shapes.
    #[test]
    fn values() -> Result<()> {
        let cpu = &Device::Cpu;
        for dtype in crate::engine::ops::cast::DTYPES {
            assert_eq!(f64s(&full(&[2], Number::Int(3), dtype, cpu)?), [3.0, 3.0]);
            assert_eq!(f64s(&arange(2i64.into(), 8i64.into(), 3i64.into(), dtype, cpu)?), [2.0, 5.0]);
            assert_eq!(f64s(&eye(2, dtype, cpu)?), [1.0, 0.0, 0.0, 1.0]);
            assert_eq!(full(&[0, 2], Number::Float(1.0), dtype, cpu)?.dims(), [0, 2]);
        }
        assert_eq!(f64s(&arange(1.0.into(), 0i64.into(), (-0.25).into(), DType::F32, cpu)?), [1.0, 0.75, 0.5, 0.25]);
        assert_eq!(eye(0, DType::F32, cpu)?.dims(), [0, 0]);
        assert_eq!(arange(0i64.into(), 0i64.into(), 1i64.into(), DType::I64, cpu)?.dims(), [0]);
        Ok(())
    }

    /// Protects reproducibility and the moments; a half-precision draw is the rounded f64 draw.
    #[test]
    fn random_numbers() -> Result<()> {
        let cpu = &Device::Cpu;
        rng::seed(3);
        let x = f64s(&randn(&[50, 400], 1.0, 2.0, DType::F32, cpu)?);
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
        assert!((mean - 1.0).abs() < 0.05 && (var - 4.0).abs() < 0.15, "{mean} {var}");
        let u = f64s(&rand(&[1000], -1.0, 1.0, DType::F64, cpu)?);
        assert!(u.iter().all(|v| (-1.0..1.0).contains(v)) && u.iter().any(|v| *v < -0.9));
        rng::seed(3);
        let half = f64s(&randn(&[50, 400], 1.0, 2.0, DType::BF16, cpu)?);
        assert!(half.iter().zip(&x).all(|(h, x)| (h - x).abs() <= 0.004 * x.abs() + 1e-6));
        Ok(())
    }

    /// Protects the process from sizes that do not fit, and the person from wrong numbers.
    #[test]
    fn refused() {
        let cpu = &Device::Cpu;
        assert!(full(&[1 << 40], Number::Int(0), DType::F32, cpu).is_err());
        assert!(full(&[2], Number::Int(-1), DType::U8, cpu).is_err());
        assert!(arange(0i64.into(), i64::MAX.into(), 1i64.into(), DType::I64, cpu).is_err());
        assert!(arange(0i64.into(), 5i64.into(), (-1i64).into(), DType::I64, cpu).is_err());
        assert!(arange(0.0.into(), f64::NAN.into(), 1.0.into(), DType::F32, cpu).is_err());
        assert!(eye(1 << 40, DType::F32, cpu).is_err());
        assert!(randn(&[2], 0.0, 1.0, DType::I64, cpu).is_err());
        assert!(rand(&[2], 0.0, f64::INFINITY, DType::F32, cpu).is_err());
    }
}
