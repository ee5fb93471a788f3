//! A linear layer that can carry an adapter.

use super::config::LoraConfig;
use crate::engine::autograd::Tensor;
use crate::engine::error::Result;
use crate::engine::ops::lora::{LoraWeights, lora_linear};
use crate::engine::ops::weight::Precision;
use crate::engine::ops::{cpu, linear::linear, linears::linears};
use crate::engine::param::Param;
use crate::engine::rng;
use candle_core::{Device, Tensor as Value};

/// The two factors of one adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// `[rank, in]`.
    pub a: Param,
    /// `[out, rank]`.
    pub b: Param,
    /// Factor on the adapter's output.
    pub scale: f64,
    /// Dropout probability during training.
    pub dropout: f64,
}

/// `y = x W^T + b`, plus the adapter's path if there is one.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
    /// The adapter.
    pub adapter: Option<Adapter>,
}

impl Linear {
    /// `x` `[.., in]` to `[.., out]`; dropout acts only in `training`.
    pub fn forward(&self, x: &Tensor, training: bool) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(Param::tensor).transpose()?;
        let weight = self.weight.weight(Precision::of(training))?;
        match &self.adapter {
            None => linear(x, weight, bias),
            Some(adapter) => {
                let lora = LoraWeights {
                    a: adapter.a.tensor()?,
                    b: adapter.b.tensor()?,
                    scale: adapter.scale,
                    dropout: if training { adapter.dropout } else { 0.0 },
                };
                lora_linear(x, weight, bias, &lora)
            }
        }
    }

    /// `x` through several layers; outside training, where weights are quantized, through those without adapters at once.
    pub fn forward_each<const N: usize>(layers: [&Linear; N], x: &Tensor, training: bool) -> Result<[Tensor; N]> {
        // In training each in its turn: their gradients are added in the order of the layers.
        let together = !training && layers.iter().all(|l| l.weight.quantized().is_some());
        let mut outs: Vec<Option<Tensor>> = vec![None; N];
        let mut plain = Vec::with_capacity(N);
        for (i, layer) in layers.iter().enumerate() {
            if layer.adapter.is_some() || !together {
                outs[i] = Some(layer.forward(x, training)?);
            } else {
                let bias = layer.bias.as_ref().map(Param::tensor).transpose()?;
                plain.push((layer.weight.weight(Precision::of(training))?, bias));
            }
        }
        let mut rest = linears(x, &plain)?.into_iter();
        let outs: Vec<Tensor> = outs.into_iter().filter_map(|out| out.or_else(|| rest.next())).collect();
        outs.try_into().map_err(|_| crate::engine::Error::config("linear: a layer gave no result"))
    }

    /// Gives the layer a fresh trainable adapter: A uniform in `±1/sqrt(in)` (kaiming-uniform with a = sqrt 5, as PEFT),
    /// from the session's random stream; B zero, so that the layer computes what it computed before. Factors are f32
    /// whatever the base's dtype (f64 for f64).
    pub fn inject(&mut self, config: &LoraConfig, device: &Device) -> Result<()> {
        let [out, inner] = *self.weight.dims() else {
            return Err(crate::engine::Error::shape("inject_lora", format!("weight {:?}", self.weight.dims())));
        };
        let dtype = cpu::accumulator(self.weight.dtype());
        let (a, b) = match &self.weight {
            Param::Shape(..) => {
                (Param::shape_only(&[config.rank, inner], dtype), Param::shape_only(&[out, config.rank], dtype))
            }
            Param::Loaded(_) | Param::Quantized(_) => {
                let stream = rng::take(config.rank * inner);
                let bound = 1.0 / (inner as f64).sqrt();
                let a: Vec<f32> = (0..(config.rank * inner) as u64)
                    .map(|i| ((2.0 * stream.uniform(i) - 1.0) * bound) as f32)
                    .collect();
                let a = Value::from_vec(a, (config.rank, inner), device)?.to_dtype(dtype)?;
                let b = Value::zeros((out, config.rank), dtype, device)?;
                (Tensor::new(a).into(), Tensor::new(b).into())
            }
        };
        a.set_requires_grad(true)?;
        b.set_requires_grad(true)?;
        self.adapter = Some(Adapter { a, b, scale: config.scale(), dropout: config.dropout });
        Ok(())
    }

    /// `scale * B A`, `[out, in]`, in f32 (f64 for f64). `None` without an adapter.
    pub fn delta(&self) -> Result<Option<Value>> {
        let Some(adapter) = &self.adapter else { return Ok(None) };
        let (a, b) = (adapter.a.tensor()?.value(), adapter.b.tensor()?.value());
        Ok(Some((b.matmul(a)? * adapter.scale)?))
    }

    /// Adds the adapter into the weight, in place, and removes it. The sum is formed in f32 and rounded once.
    pub fn merge(&mut self) -> Result<()> {
        if let Some(delta) = self.delta()? {
            let weight = self.weight.tensor()?;
            let acc = cpu::accumulator(weight.dtype());
            let sum = (weight.value().to_dtype(acc)? + delta.to_dtype(acc)?)?;
            weight.assign(&sum.to_dtype(weight.dtype())?)?;
            self.adapter = None;
        }
        Ok(())
    }
}
