//! Gradients seen as one long vector: its length, and shortening it.
//!
//! `clip_grad_norm` scales every gradient by `max / (norm + 1e-6)` where that is below 1, as
//! `torch.nn.utils.clip_grad_norm_`. Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural
//! networks", ICML 2013.

use super::NamedParam;
use crate::engine::error::{Error, Result};
use crate::engine::ops::cpu;
use crate::engine::profile;
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Tensor as Value};
use half::{bf16, f16};
use rayon::prelude::*;

/// Elements per task.
const CHUNK: usize = 65_536;

/// Euclidean norm of all gradients together, before clipping; accumulated in f64 (f32 on CUDA).
///
/// Gradients longer than `max` together are scaled down, in place. A norm that is not finite is returned as it is and
/// the gradients are left alone: what to do with such a step is the caller's choice.
///
/// # Errors
/// If `max` is negative or NaN.
pub fn clip_grad_norm(params: &[NamedParam], max: f64) -> Result<f64> {
    let _span = profile::span("clip_grad_norm");
    if max.is_nan() || max < 0.0 {
        return Err(Error::config(format!("clip_grad_norm: the greatest norm must be 0 or more, not {max}")));
    }
    let norm = grad_norm(params)?;
    let scale = max / (norm + 1e-6);
    if norm.is_finite() && scale < 1.0 {
        scale_grads(params, scale)?;
    }
    Ok(norm)
}

/// Euclidean norm of all gradients together; 0 without any.
pub fn grad_norm(params: &[NamedParam]) -> Result<f64> {
    let mut host = 0.0;
    let mut device = Vec::new();
    for grad in params.iter().filter_map(|(_, p)| p.grad()) {
        if grad.device().is_cpu() {
            host += squares(&grad)?;
        } else {
            device.push(grad.to_dtype(DType::F32)?.sqr()?.sum_all()?);
        }
    }
    // One transfer, whatever the number of parameters.
    if !device.is_empty() {
        host += f64::from(Value::stack(&device, 0)?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(host.sqrt())
}

fn squares(grad: &Value) -> Result<f64> {
    let grad = grad.contiguous()?;
    macro_rules! sum {
        ($t:ty, $up:expr) => {
            cpu::slices!([data: $t = grad] => {
                let part = |data: &[$t]| -> f64 { data.iter().map(|x| { let x: f64 = $up(*x); x * x }).sum() };
                // Collected first: the order of the additions must not depend on the threads.
                let parts: Vec<f64> = data.par_chunks(CHUNK).map(part).collect();
                parts.iter().sum::<f64>()
            })
        };
    }
    Ok(match grad.dtype() {
        DType::F64 => sum!(f64, |x| x),
        DType::F32 => sum!(f32, f64::from),
        DType::BF16 => sum!(bf16, f64::from),
        DType::F16 => sum!(f16, f64::from),
        other => return Err(Error::dtype("grad_norm", format!("takes no {} gradients", other.as_str()))),
    })
}

/// Multiplies every gradient by `factor`, in place; says whether all elements are then finite.
pub(super) fn scale_grads(params: &[NamedParam], factor: f64) -> Result<bool> {
    let mut finite = true;
    let mut on_device = Vec::new();
    for (_, p) in params {
        let Some(mut grad) = p.grad() else { continue };
        if grad.elem_count() == 0 {
            continue;
        }
        if !grad.device().is_cpu() {
            let dtype = grad.dtype();
            let scaled = (grad.to_dtype(DType::F32)? * factor)?;
            // x times 0 is 0 for a finite x and NaN for any other.
            on_device.push((&scaled * 0.0)?.sum_all()?);
            p.set_grad(Some(scaled.to_dtype(dtype)?));
            continue;
        }
        if !grad.is_contiguous() {
            grad = grad.contiguous()?;
            p.set_grad(Some(grad.clone()));
        }
        let pass = Scale { factor, finite: true.into() };
        grad.inplace_op1(&pass)?;
        finite &= pass.finite.into_inner();
    }
    if !on_device.is_empty() {
        finite &= Value::stack(&on_device, 0)?.sum_all()?.to_scalar::<f32>()? == 0.0;
    }
    Ok(finite)
}

/// x factor, in place, noticing what is not finite.
struct Scale {
    factor: f64,
    finite: std::sync::atomic::AtomicBool,
}

impl InplaceOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale gradient"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("scale gradient: a strided gradient");
        };
        macro_rules! scale {
            ($data:expr, $acc:ty, $up:expr, $down:expr) => {{
                let factor = self.factor as $acc;
                let task = |chunk: &mut [_]| {
                    let mut finite = true;
                    for x in chunk {
                        *x = $down($up(*x) * factor);
                        finite &= x.is_finite();
                    }
                    finite
                };
                // Not `all`, which would stop at the first chunk that is not finite and leave the others unscaled.
                $data[start..end].par_chunks_mut(CHUNK).map(task).reduce(|| true, |a, b| a & b)
            }};
        }
        let finite = match storage {
            CpuStorage::F64(data) => scale!(data, f64, |x: f64| x, |x| x),
            CpuStorage::F32(data) => scale!(data, f32, |x: f32| x, |x| x),
            CpuStorage::BF16(data) => scale!(data, f32, bf16::to_f32, bf16::from_f32),
            CpuStorage::F16(data) => scale!(data, f32, f16::to_f32, f16::from_f32),
            _ => candle_core::bail!("scale gradient: not a floating-point gradient"),
        };
        self.finite.store(finite, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{backward, params, values};
    use super::super::{AdamW, AdamWConfig, Optimizer};
    use super::*;
    use crate::engine::autograd::Tensor;
    use crate::engine::ops::testing::f64s;
    use candle_core::Device;

    /// Protects clipped training: norms and parameters that `torch.nn.utils.clip_grad_norm_(.., 0.5)` and
    /// `torch.optim.AdamW(lr=0.05, weight_decay=0.1)` (2.15, float64) printed for the same eight steps.
    #[test]
    fn matches_pytorch() -> Result<()> {
        let config = AdamWConfig { lr: 0.05, weight_decay: 0.1, ..AdamWConfig::default() };
        let mut opt = AdamW::new(params(DType::F64), config)?;
        let norms = [
            1.6539724907,
            2.83155780536,
            3.96048357777,
            5.6457632728,
            7.22227056298,
            8.75822068929,
            10.69858992,
            12.607183373,
        ];
        for (i, want) in norms.into_iter().enumerate() {
            opt.zero_grad();
            backward(opt.params(), i)?;
            let norm = clip_grad_norm(opt.params(), 0.5)?;
            assert!((norm - want).abs() < 1e-9, "step {i}: {norm} for {want}");
            assert!(grad_norm(opt.params())? <= 0.5);
            opt.step()?;
        }
        let want = [0.60084637797, -2.3166786174, 0.12488626539, 0.53674297053, 0.344958783973];
        assert!(values(opt.params()).iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-9));
        Ok(())
    }

    /// Protects the gradients: short ones and ones that are not finite stay as they are; every dtype is measured.
    #[test]
    fn what_needs_no_clipping_is_left_alone() -> Result<()> {
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let p = Tensor::parameter(Value::zeros((1, 2), dtype, &Device::Cpu)?)?;
            let named = [("p".to_string(), p.clone())];
            assert_eq!(clip_grad_norm(&named, 1.0)?, 0.0);
            let grad = |v: [f64; 2]| Value::new(&[v], &Device::Cpu).and_then(|v| v.to_dtype(dtype));
            p.set_grad(Some(grad([3.0, 4.0])?));
            assert_eq!(clip_grad_norm(&named, 5.5)?, 5.0);
            assert_eq!(f64s(&p.grad().unwrap()), [3.0, 4.0]);
            assert_eq!(clip_grad_norm(&named, f64::INFINITY)?, 5.0);
            clip_grad_norm(&named, 2.5)?;
            assert!((f64s(&p.grad().unwrap())[1] - 2.0).abs() < 1e-2);
            p.set_grad(Some(grad([f64::INFINITY, 1.0])?));
            assert_eq!(clip_grad_norm(&named, 1.0)?, f64::INFINITY);
            assert_eq!(f64s(&p.grad().unwrap()), [f64::INFINITY, 1.0]);
            assert!(clip_grad_norm(&named, -1.0).is_err());
        }
        Ok(())
    }
}
