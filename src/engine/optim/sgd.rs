//! Stochastic gradient descent with momentum, Nesterov momentum and weight decay, as `torch.optim.SGD`.
//!
//! With gradient g and, at a parameter's first update, b = g:
//! ```text
//! g <- g + λ p
//! b <- μ b + (1 - τ) g
//! p <- p - lr (g + μ b  if Nesterov, else b; g without momentum)
//! ```
//! Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum", ICML 2013.

use super::slots::{Memory, Rule};
use super::{NamedParam, Optimizer, OptimizerState, Remembered, check_number, check_params};
use crate::engine::error::{Error, Result};
use crate::engine::ops::cpu::{Exp, acc};
use crate::engine::profile;
use candle_core::Tensor as Value;

/// Settings of [`Sgd`]; the defaults are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// Learning rate.
    pub lr: f64,
    /// μ: how much of the last direction is kept.
    pub momentum: f64,
    /// τ: how much of the gradient does not enter the direction.
    pub dampening: f64,
    /// λ, added to the gradient as λ p.
    pub weight_decay: f64,
    /// Looks ahead along the direction.
    pub nesterov: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        SgdConfig { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

/// The optimizer.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    memory: Kind,
}

/// Without momentum nothing has to be remembered.
#[derive(Debug)]
enum Kind {
    Plain(Memory<0>),
    Momentum(Memory<1>),
}

impl Sgd {
    /// An optimizer of `params`.
    ///
    /// # Errors
    /// If a setting is out of range or a parameter cannot be optimized.
    pub fn new(params: Vec<NamedParam>, config: SgdConfig) -> Result<Self> {
        check_number("sgd", "lr", config.lr, 0.0..f64::INFINITY)?;
        check_number("sgd", "momentum", config.momentum, 0.0..f64::INFINITY)?;
        check_number("sgd", "weight_decay", config.weight_decay, 0.0..f64::INFINITY)?;
        check_number("sgd", "dampening", config.dampening, 0.0..f64::INFINITY)?;
        if config.nesterov && (config.momentum == 0.0 || config.dampening != 0.0) {
            return Err(Error::config("sgd: `nesterov` needs a `momentum` and no `dampening`"));
        }
        check_params("sgd", &params)?;
        let memory = match config.momentum {
            0.0 => Kind::Plain(Memory::new(params)),
            _ => Kind::Momentum(Memory::new(params)),
        };
        Ok(Sgd { config, memory })
    }

    /// The settings, with the learning rate as it is now.
    pub fn config(&self) -> SgdConfig {
        self.config
    }
}

impl Optimizer for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn step(&mut self) -> Result<()> {
        let _span = profile::span("sgd");
        let config = self.config;
        match &mut self.memory {
            Kind::Plain(memory) => memory.step(|_| Update { config, first: false }),
            Kind::Momentum(memory) => memory.step(|t| Update { config, first: t == 1 }),
        }
    }

    fn steps(&self) -> u64 {
        match &self.memory {
            Kind::Plain(memory) => memory.steps(),
            Kind::Momentum(memory) => memory.steps(),
        }
    }

    fn lr(&self) -> f64 {
        self.config.lr
    }

    fn set_lr(&mut self, lr: f64) -> Result<()> {
        self.config.lr = check_number("sgd", "lr", lr, 0.0..f64::INFINITY)?;
        Ok(())
    }

    fn params(&self) -> &[NamedParam] {
        match &self.memory {
            Kind::Plain(memory) => memory.params(),
            Kind::Momentum(memory) => memory.params(),
        }
    }

    fn memory(&self) -> Remembered {
        match &self.memory {
            Kind::Plain(memory) => memory.bytes(),
            Kind::Momentum(memory) => memory.bytes(),
        }
    }

    fn state(&self) -> Result<OptimizerState> {
        match &self.memory {
            Kind::Plain(memory) => memory.state::<Update>(),
            Kind::Momentum(memory) => memory.state::<Update>(),
        }
    }

    fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        match &mut self.memory {
            Kind::Plain(memory) => memory.load_state::<Update>(state),
            Kind::Momentum(memory) => memory.load_state::<Update>(state),
        }
    }
}

/// One update; `first` where the direction starts as the gradient itself.
struct Update {
    config: SgdConfig,
    first: bool,
}

impl Rule<0> for Update {
    const NAMES: [&'static str; 0] = [];

    fn host<A: Exp>(&self) -> impl Fn(A, A, [A; 0]) -> (A, [A; 0]) + Sync {
        let (lr, decay): (A, A) = (acc(self.config.lr), acc(self.config.weight_decay));
        move |p, g, _| (p - lr * (g + decay * p), [])
    }

    fn device(&self, p: &Value, g: &Value, _: &[Value; 0]) -> Result<(Value, [Value; 0])> {
        let g = (g + (p * self.config.weight_decay)?)?;
        Ok(((p - (g * self.config.lr)?)?, []))
    }
}

impl Rule<1> for Update {
    const NAMES: [&'static str; 1] = ["momentum_buffer"];

    fn host<A: Exp>(&self) -> impl Fn(A, A, [A; 1]) -> (A, [A; 1]) + Sync {
        let SgdConfig { lr, momentum, dampening, weight_decay, nesterov } = self.config;
        let first = self.first;
        let (lr, momentum, decay): (A, A, A) = (acc(lr), acc(momentum), acc(weight_decay));
        let taken: A = acc(1.0 - dampening);
        move |p, g, [b]| {
            let g = g + decay * p;
            let b = if first { g } else { momentum * b + taken * g };
            let direction = if nesterov { g + momentum * b } else { b };
            (p - lr * direction, [b])
        }
    }

    fn device(&self, p: &Value, g: &Value, [b]: &[Value; 1]) -> Result<(Value, [Value; 1])> {
        let SgdConfig { lr, momentum, dampening, weight_decay, nesterov } = self.config;
        let g = (g + (p * weight_decay)?)?;
        let b = if self.first { g.clone() } else { ((b * momentum)? + (&g * (1.0 - dampening))?)? };
        let direction = if nesterov { (g + (&b * momentum)?)? } else { b.clone() };
        Ok(((p - (direction * lr)?)?, [b]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{matches_torch, params, resumes};
    use super::*;
    use candle_core::{DType, Device};

    fn make(config: SgdConfig) -> impl Fn(Vec<NamedParam>) -> Box<dyn Optimizer> {
        move |params| Box::new(Sgd::new(params, config).unwrap())
    }

    const PLAIN: SgdConfig = SgdConfig { lr: 0.02, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false };

    /// Protects every variant: values that `torch.optim.SGD` (2.15, float64) printed for the same eight steps.
    #[test]
    fn matches_pytorch() -> Result<()> {
        let heavy = SgdConfig { momentum: 0.9, weight_decay: 0.1, ..PLAIN };
        for (config, want) in [
            (PLAIN, [0.772640813277, -3.32195358663, 0.450543048724, 0.352562555049, 0.19601099711]),
            (heavy, [0.337117003983, -6.42563661776, 0.343647431735, 0.455910271525, 0.385716985586]),
            (
                SgdConfig { nesterov: true, ..heavy },
                [0.252365795728, -11.5982107087, 0.319251340384, 0.502678916808, 0.449440579303],
            ),
            (
                SgdConfig { momentum: 0.9, dampening: 0.3, ..PLAIN },
                [0.517329256438, -4.75941866635, 0.400903098169, 0.421637830311, 0.321868247505],
            ),
        ] {
            matches_torch(make(config), want)?;
        }
        Ok(())
    }

    /// Protects resuming, with and without momentum.
    #[test]
    fn saved_and_loaded_goes_on_bit_for_bit() -> Result<()> {
        resumes(make(PLAIN), DType::F32)?;
        resumes(make(SgdConfig { momentum: 0.9, nesterov: true, ..PLAIN }), DType::F32)
    }

    /// Protects the CUDA path, and settings that contradict each other.
    #[test]
    fn composition_agrees_and_nonsense_is_refused() -> Result<()> {
        let config = SgdConfig { momentum: 0.9, weight_decay: 0.1, nesterov: true, ..PLAIN };
        for first in [true, false] {
            let update = Update { config, first };
            let v = |x: f64| Value::new(x, &Device::Cpu);
            let (p, [b]) = Rule::<1>::device(&update, &v(1.0)?, &v(0.3)?, &[v(0.2)?])?;
            let (q, [c]) = Rule::<1>::host::<f64>(&update)(1.0, 0.3, [0.2]);
            assert!((p.to_scalar::<f64>()? - q).abs() < 1e-12 && (b.to_scalar::<f64>()? - c).abs() < 1e-12);
            let (p, []) = Rule::<0>::device(&update, &v(1.0)?, &v(0.3)?, &[])?;
            assert!((p.to_scalar::<f64>()? - Rule::<0>::host::<f64>(&update)(1.0, 0.3, []).0).abs() < 1e-12);
        }
        assert!(Sgd::new(params(DType::F32), SgdConfig { nesterov: true, ..PLAIN }).is_err());
        assert!(Sgd::new(params(DType::F32), SgdConfig { momentum: -0.1, ..PLAIN }).is_err());
        Ok(())
    }
}
