//! What the op tests share.

use crate::engine::autograd::Tensor;
use crate::engine::error::Result;
use candle_core::{DType, Tensor as Value};

/// Largest error of an op in each dtype against f64, relative to the largest result (at least 1): some units in the last
/// place of a value near 1 (f32 2^-24, f16 2^-11, bf16 2^-8), because the inputs are rounded too.
pub(crate) const TOLERANCE: [(DType, f64); 3] = [(DType::F32, 2e-6), (DType::F16, 8e-3), (DType::BF16, 6e-2)];

/// Checks `f` in f32, f16 and bf16, forward and backward, against f64.
pub(crate) fn close_in_low_precision(inputs: &[Value], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let run = |dtype: DType| -> Vec<Vec<f64>> {
        let leaves: Vec<Tensor> =
            inputs.iter().map(|v| Tensor::parameter(v.to_dtype(dtype).unwrap()).unwrap()).collect();
        let y = f(&leaves).unwrap();
        crate::engine::autograd::backward(&[(y.clone(), y.value().ones_like().unwrap())]).unwrap();
        let grads = leaves.iter().map(|t| {
            let grad = t.grad().unwrap();
            assert_eq!((grad.dtype(), grad.dims()), (dtype, t.dims()), "a gradient has its input's dtype and shape");
            grad
        });
        std::iter::once(y.value().clone()).chain(grads).map(|v| f64s(&v)).collect()
    };
    let exact = run(DType::F64);
    for (dtype, tolerance) in TOLERANCE {
        for (which, (got, want)) in run(dtype).iter().zip(&exact).enumerate() {
            let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (g, w) in got.iter().zip(want) {
                assert!((g - w).abs() <= tolerance * scale, "{dtype:?}, result {which}: {g} for {w}");
            }
        }
    }
}

/// All elements as f64.
pub(crate) fn f64s(value: &Value) -> Vec<f64> {
    value.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// All elements as f32.
pub(crate) fn f32s(t: &Tensor) -> Vec<f32> {
    t.value().flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}
