//! Dynamic loss scaling for f16, as `torch.amp.GradScaler`.
//!
//! Gradients below f16's smallest number (6e-8) vanish. The loss is multiplied by a large scale before backward and the
//! gradients divided by it afterwards. Where that overflowed, the step is skipped and the scale halved; after 2000 steps
//! without overflow it is doubled. Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018.
//!
//! Order of one step: `scale(loss).backward()`, `unscale` (needed only to look at or clip the gradients), `step`, `update`.

use super::{NamedParam, Optimizer, check_number, clip};
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::ops::arith;

/// Settings of [`GradScaler`]; the defaults are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradScalerConfig {
    /// Whether it does anything. Not needed for f32 and bf16.
    pub enabled: bool,
    /// First scale.
    pub init_scale: f64,
    /// Factor of growth.
    pub growth_factor: f64,
    /// Factor after an overflow.
    pub backoff_factor: f64,
    /// Steps without overflow after which the scale grows.
    pub growth_interval: u64,
}

impl Default for GradScalerConfig {
    fn default() -> Self {
        GradScalerConfig {
            enabled: true,
            init_scale: 65_536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
        }
    }
}

/// What a saved run needs to continue.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GradScalerState {
    /// Current scale.
    pub scale: f64,
    /// Steps without overflow since the scale last changed.
    pub growth_tracker: u64,
}

/// Where the current step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The gradients, if any, are scaled.
    Scaled,
    /// They are divided by the scale; whether all of them are finite.
    Unscaled { finite: bool },
    /// The optimizer's step was taken, or skipped where they were not finite.
    Stepped { finite: bool },
}

/// The scaler.
#[derive(Debug, Clone)]
pub struct GradScaler {
    config: GradScalerConfig,
    state: GradScalerState,
    stage: Stage,
}

impl GradScaler {
    /// A scaler.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: GradScalerConfig) -> Result<Self> {
        check_number("grad_scaler", "init_scale", config.init_scale, f64::MIN_POSITIVE..f64::INFINITY)?;
        check_number("grad_scaler", "backoff_factor", config.backoff_factor, f64::MIN_POSITIVE..1.0)?;
        check_number("grad_scaler", "growth_factor", config.growth_factor, 1.0..f64::INFINITY)?;
        if config.growth_interval == 0 {
            return Err(Error::config("grad_scaler: `growth_interval` is 0; it must be at least 1"));
        }
        let state = GradScalerState { scale: config.init_scale, growth_tracker: 0 };
        Ok(GradScaler { config, state, stage: Stage::Scaled })
    }

    /// Whether it does anything.
    pub fn enabled(&self) -> bool {
        self.config.enabled
    }

    /// What losses are multiplied by; 1 when disabled.
    pub fn scale_factor(&self) -> f64 {
        if self.config.enabled { self.state.scale } else { 1.0 }
    }

    /// The loss, multiplied by the scale.
    pub fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        if self.config.enabled { arith::mul_number(loss, self.state.scale) } else { Ok(loss.clone()) }
    }

    /// Divides the gradients of `params` by the scale, in place, and notes whether all of them are finite.
    ///
    /// # Errors
    /// If this step's gradients were unscaled already.
    pub fn unscale(&mut self, params: &[NamedParam]) -> Result<()> {
        if !self.config.enabled {
            return Ok(());
        }
        match self.stage {
            Stage::Scaled => {}
            Stage::Unscaled { .. } => {
                return Err(Error::config("grad_scaler: unscale() was already called for this step"));
            }
            Stage::Stepped { .. } => {
                return Err(Error::config("grad_scaler: unscale() comes before step(), not after it"));
            }
        }
        let finite = clip::scale_grads(params, 1.0 / self.state.scale)?;
        self.stage = Stage::Unscaled { finite };
        Ok(())
    }

    /// Takes the optimizer's step unless a gradient is infinite or NaN, unscaling first if that was not done. Returns
    /// whether the step was taken.
    ///
    /// # Errors
    /// If the optimizer fails, or [`GradScaler::update`] was not called since the last step.
    pub fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<bool> {
        if !self.config.enabled {
            optimizer.step()?;
            return Ok(true);
        }
        if self.stage == Stage::Scaled {
            self.unscale(optimizer.params())?;
        }
        let Stage::Unscaled { finite } = self.stage else {
            return Err(Error::config("grad_scaler: step() was called twice without update() between"));
        };
        if finite {
            optimizer.step()?;
        }
        self.stage = Stage::Stepped { finite };
        Ok(finite)
    }

    /// Whether this step's gradients overflowed, so that the step will be skipped.
    pub fn overflowed(&self) -> bool {
        matches!(self.stage, Stage::Unscaled { finite: false })
    }

    /// Adjusts the scale after a step: halved after an overflow, doubled after a long time without.
    ///
    /// # Errors
    /// If there was no step since the last update.
    pub fn update(&mut self) -> Result<()> {
        if !self.config.enabled {
            return Ok(());
        }
        let (Stage::Unscaled { finite } | Stage::Stepped { finite }) = self.stage else {
            return Err(Error::config("grad_scaler: update() without a step() or unscale() before it"));
        };
        if finite {
            self.state.growth_tracker += 1;
            if self.state.growth_tracker >= self.config.growth_interval {
                let grown = self.state.scale * self.config.growth_factor;
                // Beyond f32 the scaled loss would be infinite at once.
                if grown <= f64::from(f32::MAX) {
                    self.state.scale = grown;
                }
                self.state.growth_tracker = 0;
            }
        } else {
            self.state.scale *= self.config.backoff_factor;
            self.state.growth_tracker = 0;
        }
        self.stage = Stage::Scaled;
        Ok(())
    }

    /// Scale and tracker, for a saved run.
    pub fn state(&self) -> GradScalerState {
        self.state
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// If the saved scale is not a positive number.
    pub fn load_state(&mut self, state: GradScalerState) -> Result<()> {
        check_number("grad_scaler", "scale", state.scale, f64::MIN_POSITIVE..f64::INFINITY)?;
        (self.state, self.stage) = (state, Stage::Scaled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{backward, params, values};
    use super::super::{Sgd, SgdConfig};
    use super::*;
    use crate::engine::ops::reduce;
    use crate::engine::ops::testing::f64s;
    use candle_core::{DType, Device, Tensor as Value};

    /// Protects f16 training: an overflow skips the step and halves the scale, the next step is taken, growth comes
    /// after the interval. The course of `torch.amp.GradScaler` with the same settings.
    #[test]
    fn overflow_skips_and_halves() -> Result<()> {
        let config = GradScalerConfig { init_scale: 65_536.0, growth_interval: 2, ..Default::default() };
        let mut scaler = GradScaler::new(config)?;
        let p = Tensor::parameter(Value::new(&[2f32], &Device::Cpu)?.to_dtype(DType::F16)?)?;
        let mut opt = Sgd::new(vec![("p".into(), p.clone())], SgdConfig { lr: 0.5, ..Default::default() })?;
        let mut course = Vec::new();
        for _ in 0..4 {
            opt.zero_grad();
            // The gradient is 1, times the scale: 65536 is infinite in f16, 32768 is not.
            scaler
                .scale(&reduce::sum(&crate::engine::ops::cast::to_dtype(&p, DType::F32)?, &[], false)?)?
                .backward()?;
            let taken = scaler.step(&mut opt)?;
            scaler.update()?;
            course.push((taken, scaler.scale_factor(), f64s(p.value())[0]));
        }
        assert_eq!(course, [(false, 32768.0, 2.0), (true, 32768.0, 1.5), (true, 65536.0, 1.0), (false, 32768.0, 1.0)]);
        Ok(())
    }

    /// Protects clipping under scaling: unscaled gradients are the plain ones, and steps with and without scaling agree.
    #[test]
    fn scaling_cancels() -> Result<()> {
        let mut plain = Sgd::new(params(DType::F64), SgdConfig::default())?;
        backward(plain.params(), 0)?;
        plain.step()?;
        let mut opt = Sgd::new(params(DType::F64), SgdConfig::default())?;
        let mut scaler = GradScaler::new(GradScalerConfig { init_scale: 1024.0, ..Default::default() })?;
        backward(opt.params(), 0)?;
        let before: Vec<f64> = f64s(&opt.params()[0].1.grad().unwrap());
        for (_, p) in opt.params() {
            p.set_grad(Some((p.grad().unwrap() * 1024.0)?));
        }
        scaler.unscale(opt.params())?;
        assert_eq!(f64s(&opt.params()[0].1.grad().unwrap()), before);
        assert!(scaler.unscale(opt.params()).is_err());
        assert!(scaler.step(&mut opt)?);
        assert!(scaler.step(&mut opt).is_err());
        scaler.update()?;
        assert!(scaler.update().is_err());
        assert_eq!(values(plain.params()), values(opt.params()));
        Ok(())
    }

    /// Protects recipes with one line for all dtypes: disabled, it changes nothing; and states survive JSON.
    #[test]
    fn disabled_and_saved() -> Result<()> {
        let mut off = GradScaler::new(GradScalerConfig { enabled: false, ..Default::default() })?;
        let loss = Tensor::new(Value::new(3f32, &Device::Cpu)?);
        assert!(off.scale(&loss)?.same(&loss) && off.scale_factor() == 1.0);
        let mut opt = Sgd::new(params(DType::F32), SgdConfig::default())?;
        off.unscale(opt.params())?;
        assert!(off.step(&mut opt)?);
        off.update()?;
        assert_eq!(opt.steps(), 1);
        let state = GradScalerState { scale: 123.5, growth_tracker: 7 };
        let json = serde_json::to_string(&state).unwrap();
        off.load_state(serde_json::from_str(&json).unwrap())?;
        assert_eq!(off.state(), state);
        assert!(off.load_state(GradScalerState { scale: f64::NAN, growth_tracker: 0 }).is_err());
        assert!(GradScaler::new(GradScalerConfig { backoff_factor: 1.5, ..Default::default() }).is_err());
        Ok(())
    }
}
