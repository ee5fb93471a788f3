//! Optimizers: what turns gradients into updates, and what guards them (clipping, loss scaling).
//!
//! An optimizer owns a list of named parameters and what it remembers of each. Parameters are updated in place, on the
//! storage that the model sees. A parameter without a gradient is skipped, as in PyTorch. The numbers remembered are f32
//! (f64 for f64 parameters) whatever the parameter's dtype.

pub mod adamw;
pub mod clip;
pub mod digest;
pub mod scaler;
pub mod schedule;
pub mod sgd;
mod slots;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_grad_norm;
pub use scaler::{GradScaler, GradScalerConfig, GradScalerState};
pub use sgd::{Sgd, SgdConfig};

use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use candle_core::Tensor as Value;
use std::collections::HashSet;

/// A parameter and the name it is saved under.
pub type NamedParam = (String, Tensor);

/// All that an optimizer needs to go on where it stopped.
#[derive(Debug, Clone, Default)]
pub struct OptimizerState {
    /// Calls of [`Optimizer::step`] so far.
    pub steps: u64,
    /// `<parameter>.<quantity>` in the parameters' order; parameters that were never updated have none.
    pub tensors: Vec<(String, Value)>,
}

/// Bytes of what an optimizer remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Now.
    pub now: usize,
    /// Once every parameter was updated.
    pub full: usize,
}

/// An optimizer.
pub trait Optimizer: Send {
    /// Its name in scripts.
    fn name(&self) -> &'static str;

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    /// If a gradient does not fit its parameter, or the device refuses.
    fn step(&mut self) -> Result<()>;

    /// Calls of [`Optimizer::step`] so far.
    fn steps(&self) -> u64;

    /// Learning rate of the next step.
    fn lr(&self) -> f64;

    /// Sets the learning rate.
    ///
    /// # Errors
    /// If it is negative, infinite or NaN.
    fn set_lr(&mut self, lr: f64) -> Result<()>;

    /// The parameters.
    fn params(&self) -> &[NamedParam];

    /// Bytes of what is remembered.
    fn memory(&self) -> Remembered;

    /// Drops every parameter's gradient.
    fn zero_grad(&self) {
        for (_, p) in self.params() {
            p.zero_grad();
        }
    }

    /// A copy of what the optimizer remembers.
    fn state(&self) -> Result<OptimizerState>;

    /// Replaces what the optimizer remembers. Nothing changes if there is an error.
    ///
    /// # Errors
    /// If a tensor belongs to no parameter of this optimizer, or has another shape.
    fn load_state(&mut self, state: &OptimizerState) -> Result<()>;
}

/// Whether `params` can be optimized: leaves, floating-point, stored row by row, each named once and given once.
fn check_params(what: &str, params: &[NamedParam]) -> Result<()> {
    if params.is_empty() {
        return Err(Error::config_help(
            format!("{what}: the list of parameters is empty"),
            "is everything frozen? pass model.trainable() after inject_lora or unfreeze",
        ));
    }
    let mut names = HashSet::new();
    for (i, (name, p)) in params.iter().enumerate() {
        let wrong = |why: String| Err(Error::config(format!("{what}: parameter `{name}` {why}")));
        if !names.insert(name) {
            return wrong("is named twice".into());
        }
        if let Some((other, _)) = params[..i].iter().find(|(_, q)| q.same(p)) {
            return wrong(format!("is the same tensor as `{other}`; it would be updated twice"));
        }
        if !p.is_leaf() {
            return wrong("was computed from other tensors; only leaves can be optimized (detach() it)".into());
        }
        if !p.dtype().is_float() {
            return wrong(format!("is {}; only floating-point tensors can be optimized", p.dtype().as_str()));
        }
        if !p.value().is_contiguous() {
            return wrong("is a strided view, which cannot be updated in place; call contiguous() on it".into());
        }
    }
    Ok(())
}

/// `value` must be finite and in `range`.
fn check_number(what: &str, option: &str, value: f64, range: std::ops::Range<f64>) -> Result<f64> {
    if range.contains(&value) {
        return Ok(value);
    }
    let upto = if range.end.is_finite() { format!(" and below {}", range.end) } else { String::new() };
    Err(Error::config(format!("{what}: `{option}` is {value}; it must be at least {}{upto}", range.start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ops::{arith, pow, reduce};
    use candle_core::{DType, Device};

    /// The parameters of the comparison with PyTorch.
    pub(super) fn params(dtype: DType) -> Vec<NamedParam> {
        let new = |v: Value| Tensor::parameter(v.to_dtype(dtype).unwrap()).unwrap();
        vec![
            ("p".into(), new(Value::new(&[1f64, -2.0, 0.5], &Device::Cpu).unwrap())),
            ("q".into(), new(Value::new(&[[0.3f64, 0.1]], &Device::Cpu).unwrap())),
        ]
    }

    /// Gradients of step `i` of that comparison: `0.1 (i + 1) Σ p³ + Σ (q - 1)² + Σ p₀ q`, without the terms of q (which
    /// then has no gradient) in every third step.
    pub(super) fn backward(params: &[NamedParam], i: usize) -> Result<()> {
        let (p, q) = (&params[0].1, &params[1].1);
        let total = |t: &Tensor| reduce::sum(t, &[], false);
        let mut loss = arith::mul_number(&total(&pow::pow_number(p, 3i64)?)?, 0.1 * (i + 1) as f64)?;
        if i % 3 != 2 {
            loss = arith::add(&loss, &total(&pow::pow_number(&arith::sub_number(q, 1i64)?, 2i64)?)?)?;
            let first = crate::engine::ops::shape::select(p, 0, 0)?;
            loss = arith::add(&loss, &total(&arith::mul(&first, q)?)?)?;
        }
        loss.backward()
    }

    /// All parameters' values in a row.
    pub(super) fn values(params: &[NamedParam]) -> Vec<f64> {
        params.iter().flat_map(|(_, p)| crate::engine::ops::testing::f64s(p.value())).collect()
    }

    /// Eight steps against the values that PyTorch 2.15 printed for the same in float64: `want`, 12 digits.
    pub(super) fn matches_torch(make: impl Fn(Vec<NamedParam>) -> Box<dyn Optimizer>, want: [f64; 5]) -> Result<()> {
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-5)] {
            let mut opt = make(params(dtype));
            for i in 0..8 {
                opt.zero_grad();
                backward(opt.params(), i)?;
                opt.step()?;
            }
            for (got, want) in values(opt.params()).iter().zip(want) {
                assert!(
                    (got - want).abs() <= tolerance * want.abs().max(1.0),
                    "{} {dtype:?}: {got} for {want}",
                    opt.name()
                );
            }
        }
        Ok(())
    }

    /// Stopping, saving, loading into a new optimizer and going on must give the bits of never having stopped.
    pub(super) fn resumes(make: impl Fn(Vec<NamedParam>) -> Box<dyn Optimizer>, dtype: DType) -> Result<()> {
        let go = |opt: &mut Box<dyn Optimizer>, steps: std::ops::Range<usize>| -> Result<()> {
            for i in steps {
                opt.zero_grad();
                backward(opt.params(), i)?;
                opt.step()?;
            }
            Ok(())
        };
        let mut whole = make(params(dtype));
        go(&mut whole, 0..7)?;
        let mut first = make(params(dtype));
        go(&mut first, 0..4)?;
        let state = first.state()?;
        let copies =
            first.params().iter().map(|(n, p)| (n.clone(), Tensor::parameter(p.value().copy().unwrap()).unwrap()));
        let mut second = make(copies.collect());
        second.load_state(&state)?;
        assert_eq!(second.steps(), 4);
        go(&mut second, 4..7)?;
        assert_eq!(values(whole.params()), values(second.params()));
        Ok(())
    }

    /// Protects training: parameters that cannot be optimized are refused by name.
    #[test]
    fn wrong_parameters_are_refused() -> Result<()> {
        let said = |params: Vec<NamedParam>| check_params("adamw", &params).unwrap_err().to_string();
        let p = || Tensor::parameter(Value::zeros((2, 3), DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert!(said(vec![]).contains("empty"));
        assert!(said(vec![("a".into(), p()), ("a".into(), p())]).contains("named twice"));
        let one = p();
        assert!(said(vec![("a".into(), one.clone()), ("b".into(), one.clone())]).contains("same tensor as `a`"));
        assert!(said(vec![("a".into(), arith::neg(&one)?)]).contains("computed"));
        assert!(said(vec![("a".into(), Tensor::parameter(one.value().t()?)?)]).contains("strided"));
        assert!(said(vec![("a".into(), Tensor::new(one.value().to_dtype(DType::U8)?))]).contains("u8"));
        Ok(())
    }
}
