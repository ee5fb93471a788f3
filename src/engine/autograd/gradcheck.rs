//! Finite differences: the judge of every op's backward.

use super::tensor::Tensor;
use crate::engine::error::Result;
use candle_core::{DType, Device, Tensor as Value};

/// A reproducible f64 tensor with values in about [-1, 1], away from zero (kinks of relu, abs, max).
pub(crate) fn sample(dims: &[usize], salt: u64) -> Value {
    let n: usize = dims.iter().product();
    let stream = crate::engine::rng::Stream::new(salt);
    let v: Vec<f64> = (0..n as u64)
        .map(|i| {
            let u = 2.0 * stream.uniform(i) - 1.0;
            u + 0.1 * u.signum()
        })
        .collect();
    Value::from_vec(v, dims, &Device::Cpu).unwrap()
}

/// Compares the gradients of `f` at `inputs` (f64) with central differences.
///
/// The result of `f` is contracted with fixed random weights, so every output element counts. Inputs may be strided
/// views. Tolerance: 1e-6 relative to the largest gradient, or absolute below 1.
pub(crate) fn check(inputs: &[Value], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    check_tol(inputs, 1e-6, f);
}

/// As [`check`] with a tolerance.
pub(crate) fn check_tol(inputs: &[Value], tol: f64, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let leaves: Vec<Tensor> = inputs.iter().map(|v| Tensor::parameter(v.clone()).unwrap()).collect();
    let out = f(&leaves).unwrap();
    let weights = sample(out.dims(), 4242);
    super::backward(&[(out.clone(), weights.to_dtype(out.dtype()).unwrap())]).unwrap();
    let objective = |at: &[Value]| -> f64 {
        let leaves: Vec<Tensor> = at.iter().map(|v| Tensor::new(v.clone())).collect();
        let out = f(&leaves).unwrap();
        let out = out.value().to_dtype(DType::F64).unwrap();
        (out * &weights).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    const STEP: f64 = 1e-5;
    for (k, input) in inputs.iter().enumerate() {
        let got = leaves[k].grad();
        let base = input.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let got = match got {
            Some(g) => {
                assert_eq!(g.dims(), input.dims(), "shape of gradient {k}");
                g.flatten_all().unwrap().to_vec1::<f64>().unwrap()
            }
            None => vec![0.0; base.len()],
        };
        let mut want = vec![0.0; base.len()];
        for i in 0..base.len() {
            let side = |delta: f64| {
                let mut v = base.clone();
                v[i] += delta;
                let mut at = inputs.to_vec();
                at[k] = Value::from_vec(v, input.dims(), &Device::Cpu).unwrap();
                objective(&at)
            };
            want[i] = (side(STEP) - side(-STEP)) / (2.0 * STEP);
        }
        let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!(
                (g - w).abs() <= tol * scale,
                "input {k} {:?}, element {i}: backward says {g}, finite differences {w}",
                input.dims()
            );
        }
    }
}
