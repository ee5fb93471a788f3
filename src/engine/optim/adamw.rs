//! AdamW: Adam with weight decay that does not go through the moments.
//!
//! At a parameter's t-th update, with gradient g:
//! ```text
//! p <- p (1 - lr λ)
//! m <- m + (1 - β1) (g - m)
//! v <- β2 v + (1 - β2) g²
//! p <- p - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + ε)
//! ```
//! in the order of operations of `torch.optim.AdamW`. Source: Loshchilov and Hutter, "Decoupled Weight Decay
//! Regularization", ICLR 2019.

use super::slots::{Memory, Rule};
use super::{NamedParam, Optimizer, OptimizerState, Remembered, check_number, check_params};
use crate::engine::error::Result;
use crate::engine::ops::cpu::{Exp, acc};
use crate::engine::profile;
use candle_core::Tensor as Value;

/// Settings of [`AdamW`]; the defaults are PyTorch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the running means of gradient and squared gradient.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// λ: share of each parameter that a step takes away, times lr.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        AdamWConfig { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.01 }
    }
}

/// The optimizer.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    memory: Memory<2>,
}

impl AdamW {
    /// An optimizer of `params`.
    ///
    /// # Errors
    /// If a setting is out of range or a parameter cannot be optimized.
    pub fn new(params: Vec<NamedParam>, config: AdamWConfig) -> Result<Self> {
        check_number("adamw", "lr", config.lr, 0.0..f64::INFINITY)?;
        check_number("adamw", "betas[0]", config.betas.0, 0.0..1.0)?;
        check_number("adamw", "betas[1]", config.betas.1, 0.0..1.0)?;
        check_number("adamw", "eps", config.eps, 0.0..f64::INFINITY)?;
        check_number("adamw", "weight_decay", config.weight_decay, 0.0..f64::INFINITY)?;
        check_params("adamw", &params)?;
        Ok(AdamW { config, memory: Memory::new(params) })
    }

    /// The settings, with the learning rate as it is now.
    pub fn config(&self) -> AdamWConfig {
        self.config
    }
}

impl Optimizer for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn step(&mut self) -> Result<()> {
        let _span = profile::span("adamw");
        let config = self.config;
        self.memory.step(|t| Update::new(&config, t))
    }

    fn steps(&self) -> u64 {
        self.memory.steps()
    }

    fn lr(&self) -> f64 {
        self.config.lr
    }

    fn set_lr(&mut self, lr: f64) -> Result<()> {
        self.config.lr = check_number("adamw", "lr", lr, 0.0..f64::INFINITY)?;
        Ok(())
    }

    fn params(&self) -> &[NamedParam] {
        self.memory.params()
    }

    fn memory(&self) -> Remembered {
        self.memory.bytes()
    }

    fn state(&self) -> Result<OptimizerState> {
        self.memory.state::<Update>()
    }

    fn load_state(&mut self, state: &OptimizerState) -> Result<()> {
        self.memory.load_state::<Update>(state)
    }
}

/// The constants of one update, computed in f64.
struct Update {
    keep: f64,
    beta2: f64,
    one_minus_beta1: f64,
    one_minus_beta2: f64,
    step_size: f64,
    root_correction: f64,
    eps: f64,
}

impl Update {
    fn new(config: &AdamWConfig, t: u64) -> Self {
        let (beta1, beta2) = config.betas;
        // powi takes an i32; a run of two billion steps has long forgotten its start.
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        Update {
            keep: 1.0 - config.lr * config.weight_decay,
            beta2,
            one_minus_beta1: 1.0 - beta1,
            one_minus_beta2: 1.0 - beta2,
            step_size: config.lr / (1.0 - beta1.powi(t)),
            root_correction: (1.0 - beta2.powi(t)).sqrt(),
            eps: config.eps,
        }
    }
}

impl Rule<2> for Update {
    const NAMES: [&'static str; 2] = ["exp_avg", "exp_avg_sq"];

    fn host<A: Exp>(&self) -> impl Fn(A, A, [A; 2]) -> (A, [A; 2]) + Sync {
        let (keep, beta2, eps): (A, A, A) = (acc(self.keep), acc(self.beta2), acc(self.eps));
        let (towards1, towards2): (A, A) = (acc(self.one_minus_beta1), acc(self.one_minus_beta2));
        let (step_size, root_correction): (A, A) = (acc(self.step_size), acc(self.root_correction));
        move |p, g, [m, v]| {
            let m = m + towards1 * (g - m);
            let v = beta2 * v + towards2 * g * g;
            let denominator = v.sqrt() / root_correction + eps;
            (p * keep - step_size * (m / denominator), [m, v])
        }
    }

    fn device(&self, p: &Value, g: &Value, [m, v]: &[Value; 2]) -> Result<(Value, [Value; 2])> {
        let m = (m + ((g - m)? * self.one_minus_beta1)?)?;
        let v = ((v * self.beta2)? + (g.sqr()? * self.one_minus_beta2)?)?;
        let denominator = ((v.sqrt()? / self.root_correction)? + self.eps)?;
        let p = ((p * self.keep)? - ((&m / denominator)? * self.step_size)?)?;
        Ok((p, [m, v]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{matches_torch, params, resumes};
    use super::*;
    use crate::engine::autograd::Tensor;
    use crate::engine::ops::testing::f64s;
    use crate::engine::ops::{arith, matmul, pow, reduce, shape};
    use candle_core::{DType, Device};

    fn make(config: AdamWConfig) -> impl Fn(Vec<NamedParam>) -> Box<dyn Optimizer> {
        move |params| Box::new(AdamW::new(params, config).unwrap())
    }

    /// Protects every update: values that `torch.optim.AdamW` (2.15, float64) printed for the same eight steps, one of
    /// them with settings far from the defaults, in which a parameter has no gradient at every third step.
    #[test]
    fn matches_pytorch() -> Result<()> {
        let config = AdamWConfig { lr: 0.05, betas: (0.8, 0.95), eps: 1e-6, weight_decay: 0.1 };
        matches_torch(make(config), [0.565511735597, -2.31706418617, 0.0957408693609, 0.58405869993, 0.391658852804])?;
        let torch = [0.991949465313, -2.00765089079, 0.492141105909, 0.305980848403, 0.105993347922];
        matches_torch(make(AdamWConfig::default()), torch)
    }

    /// Protects the same against others' numbers: candle's test vector `adamw_linear_regression`
    /// (candle-nn/tests/optim.rs), which candle took from PyTorch.
    #[test]
    fn matches_candles_vector() -> Result<()> {
        let cpu = &Device::Cpu;
        let x = Tensor::new(Value::new(&[[2f32, 1.], [7., 4.], [-4., 12.], [5., 8.]], cpu)?);
        let y = Tensor::new(Value::new(&[[5f32], [23.], [-2.], [21.]], cpu)?); // 3 x0 + x1 - 2
        let w = Tensor::parameter(Value::zeros((1, 2), DType::F32, cpu)?)?;
        let b = Tensor::parameter(Value::zeros(1, DType::F32, cpu)?)?;
        let named = vec![("weight".into(), w.clone()), ("bias".into(), b.clone())];
        let mut opt = AdamW::new(named, AdamWConfig { lr: 0.1, ..AdamWConfig::default() })?;
        for _ in 0..100 {
            opt.zero_grad();
            let wrong = arith::sub(&arith::add(&matmul::matmul(&x, &shape::t(&w)?)?, &b)?, &y)?;
            reduce::sum(&pow::pow_number(&wrong, 2i64)?, &[], false)?.backward()?;
            opt.step()?;
        }
        let round = |t: &Tensor| f64s(t.value()).iter().map(|v| (v * 1e4).round() / 1e4).collect::<Vec<_>>();
        assert_eq!((round(&w), round(&b)), (vec![2.7257, 0.7097], vec![0.7873]));
        Ok(())
    }

    /// Protects resuming: bit for bit, in every dtype.
    #[test]
    fn saved_and_loaded_goes_on_bit_for_bit() -> Result<()> {
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            resumes(make(AdamWConfig { lr: 0.05, ..AdamWConfig::default() }), dtype)?;
        }
        Ok(())
    }

    /// Protects bf16 parameters: their moments are f32. And threads: a large parameter is updated as a small one is.
    #[test]
    fn moments_are_wide_and_large_parameters_complete() -> Result<()> {
        let p = Tensor::parameter(Value::ones(70_001, DType::BF16, &Device::Cpu)?)?;
        let mut opt = AdamW::new(vec![("p".into(), p.clone())], AdamWConfig { lr: 0.5, ..AdamWConfig::default() })?;
        p.set_grad(Some(Value::ones(70_001, DType::BF16, &Device::Cpu)?));
        opt.step()?;
        let state = opt.state()?;
        let (name, m) = &state.tensors[0];
        assert_eq!((name.as_str(), m.dtype()), ("p.exp_avg", DType::F32));
        assert!(f64s(m).iter().all(|v| (v - 0.1).abs() < 1e-7));
        assert!(f64s(p.value()).iter().all(|v| (v - 0.494).abs() < 2e-3), "1 - 0.5 * 0.01 - 0.5");
        Ok(())
    }

    /// Protects the CUDA path: the composition computes what the fused pass does.
    #[test]
    fn composition_agrees() -> Result<()> {
        let update = Update::new(&AdamWConfig::default(), 3);
        let v = |x: &[f64]| Value::new(x, &Device::Cpu);
        let (p, g, m, s) = (v(&[1.0, -0.5])?, v(&[0.3, -2.0])?, v(&[0.1, 0.2])?, v(&[0.01, 0.5])?);
        let (new, [m2, s2]) = update.device(&p, &g, &[m, s])?;
        for (i, (p, g, m, s)) in [(1.0, 0.3, 0.1, 0.01), (-0.5, -2.0, 0.2, 0.5)].into_iter().enumerate() {
            let (x, [m, s]) = update.host::<f64>()(p, g, [m, s]);
            for (got, want) in [(&new, x), (&m2, m), (&s2, s)] {
                assert!((f64s(got)[i] - want).abs() < 1e-12);
            }
        }
        Ok(())
    }

    /// Protects settings and saved states: what makes no sense is refused, and then nothing has changed.
    #[test]
    fn refuses_nonsense() -> Result<()> {
        for config in [
            AdamWConfig { lr: -1.0, ..Default::default() },
            AdamWConfig { lr: f64::NAN, ..Default::default() },
            AdamWConfig { betas: (0.9, 1.0), ..Default::default() },
            AdamWConfig { eps: f64::INFINITY, ..Default::default() },
        ] {
            assert!(AdamW::new(params(DType::F32), config).is_err());
        }
        let mut opt = AdamW::new(params(DType::F32), AdamWConfig::default())?;
        assert!(opt.set_lr(f64::INFINITY).is_err() && opt.lr() == 1e-3);
        let value = Value::zeros(2, DType::F32, &Device::Cpu)?;
        let state = OptimizerState { steps: 9, tensors: vec![("nobody.exp_avg".into(), value)] };
        assert!(opt.load_state(&state).unwrap_err().to_string().contains("`nobody.exp_avg` belongs to no parameter"));
        assert_eq!(opt.steps(), 0);
        Ok(())
    }
}
