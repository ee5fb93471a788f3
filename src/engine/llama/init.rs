//! Making a model: from a checkpoint, from random numbers, or from shapes alone.

use super::attention::Attention;
use super::block::{Block, Mlp};
use super::config::LlamaConfig;
use super::model::Llama;
use super::positions::Positions;
use super::weights::Checkpoint;
use crate::engine::autograd::Tensor;
use crate::engine::error::{Error, Result};
use crate::engine::interrupt;
use crate::engine::lora::Linear;
use crate::engine::memory;
use crate::engine::ops::quant::{Matrix, Source};
use crate::engine::ops::weight::Quantized;
use crate::engine::param::Param;
use crate::engine::rng;
use candle_core::{DType, Device, Tensor as Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Where a new model's parameters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Normal with standard deviation 0.02 (norms: ones), from the session's random stream.
    Random,
    /// Nowhere: shapes only, for counting.
    Shapes,
}

/// What loaded weights are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDtype {
    /// All in one.
    Float(DType),
    /// As the files have them. On the CPU matrices of Q4_0, Q4_1 and Q8_0 blocks stay quantized; other tensors are in the
    /// float dtype that most values are stored in, or f32 where most are quantized.
    Auto,
}

impl From<DType> for WeightDtype {
    fn from(dtype: DType) -> Self {
        WeightDtype::Float(dtype)
    }
}

impl Llama {
    /// Loads the model at `source` (see [`Checkpoint::open`]), frozen, its weights in `dtype` (a float, or as stored) on `device`.
    /// `progress(done, total)` is called after each tensor.
    ///
    /// # Errors
    /// If anything is missing, of the wrong shape, or unreadable.
    pub fn load(
        source: &str,
        dtype: impl Into<WeightDtype>,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Llama> {
        let checkpoint = Checkpoint::open(source)?;
        let total = checkpoint.config.parameter_shapes().len();
        let mut done = 0;
        let (dtype, mut quantized) = match dtype.into() {
            WeightDtype::Float(dtype) => (dtype, HashMap::new()),
            WeightDtype::Auto if device.is_cpu() => (
                checkpoint.float_dtype(),
                keep_quantized(&checkpoint, &mut || {
                    done += 1;
                    progress(done, total);
                })?,
            ),
            WeightDtype::Auto => (checkpoint.float_dtype(), HashMap::new()),
        };
        let mut model = build(checkpoint.config.clone(), dtype, device, &mut |name, dims| {
            interrupt::poll()?;
            if let Some(weight) = quantized.remove(name) {
                return Ok(Param::Quantized(weight));
            }
            let value = checkpoint.load(name, dims, dtype, device)?;
            done += 1;
            progress(done, total);
            Ok(Tensor::new(value).into())
        })?;
        model.name = checkpoint.name.clone();
        model.tokenizer = checkpoint.tokenizer.clone();
        Ok(model)
    }

    /// A model of `config` without a checkpoint. Random weights are trainable, as those of a new `nn.Module`.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn from_config(config: LlamaConfig, init: Init, dtype: DType, device: &Device) -> Result<Llama> {
        config.validate()?;
        if !dtype.is_float() {
            return Err(Error::dtype("from_config", format!("weights cannot be {}", dtype.as_str())));
        }
        build(config, dtype, device, &mut |name, dims| {
            interrupt::poll()?;
            if init == Init::Shapes {
                return Ok(Param::shape_only(dims, dtype));
            }
            let count = dims.iter().product::<usize>();
            let value = if dims.len() == 1 && name.ends_with("norm.weight") {
                Value::ones(dims, DType::F32, device)?
            } else if name.ends_with(".bias") {
                Value::zeros(dims, DType::F32, device)?
            } else {
                let stream = rng::take(2 * count);
                let values: Vec<f32> = (0..count as u64).map(|i| (0.02 * stream.normal(i)) as f32).collect();
                Value::from_vec(values, dims, device)?
            };
            Ok(Tensor::parameter(value.to_dtype(dtype)?)?.into())
        })
    }
}

/// The weights of `checkpoint` that stay quantized, by name.
fn keep_quantized(checkpoint: &Checkpoint, packed: &mut dyn FnMut()) -> Result<HashMap<String, Quantized>> {
    let (names, sources): (Vec<&str>, Vec<Source<'_>>) = checkpoint.quantized().into_iter().unzip();
    let bytes = sources.iter().try_fold(0usize, |sum, s| sum.checked_add(s.bytes()?));
    memory::check(|| format!("load: the quantized weights of {}", checkpoint.name), bytes)?;
    let matrices = Matrix::pack(&sources, |_| {
        packed();
        interrupt::poll()
    })?;
    let weight = |(name, matrix): (&str, Matrix)| Ok((name.to_string(), Quantized::new(matrix)?));
    names.into_iter().zip(matrices).map(weight).collect()
}

type Values<'a> = dyn FnMut(&str, &[usize]) -> Result<Param> + 'a;

fn build(config: LlamaConfig, dtype: DType, device: &Device, source: &mut Values<'_>) -> Result<Llama> {
    let shapes: HashMap<String, Vec<usize>> = config.parameter_shapes().into_iter().collect();
    let mut get =
        |name: String| -> Result<Option<Param>> { shapes.get(&name).map(|dims| source(&name, dims)).transpose() };
    fn need(param: Option<Param>, name: &str) -> Result<Param> {
        param.ok_or_else(|| Error::config(format!("the configuration gives no shape for `{name}`")))
    }
    let embed = need(get("model.embed_tokens.weight".into())?, "model.embed_tokens.weight")?;
    let mut blocks = Vec::with_capacity(config.num_hidden_layers);
    for layer in 0..config.num_hidden_layers {
        let mut linear = |name: &str| -> Result<Linear> {
            let full = format!("model.layers.{layer}.{name}");
            let weight = need(get(format!("{full}.weight"))?, &full)?;
            Ok(Linear { weight, bias: get(format!("{full}.bias"))?, adapter: None })
        };
        let projections = [
            linear("self_attn.q_proj")?,
            linear("self_attn.k_proj")?,
            linear("self_attn.v_proj")?,
            linear("self_attn.o_proj")?,
        ];
        let mlp = Mlp {
            gate_proj: linear("mlp.gate_proj")?,
            up_proj: linear("mlp.up_proj")?,
            down_proj: linear("mlp.down_proj")?,
        };
        let mut norm = |name: &str| {
            let full = format!("model.layers.{layer}.{name}.weight");
            need(get(full.clone())?, &full)
        };
        blocks.push(Arc::new(Block {
            input_layernorm: norm("input_layernorm")?,
            self_attn: Attention::new(&config, projections),
            post_attention_layernorm: norm("post_attention_layernorm")?,
            mlp,
            eps: config.rms_norm_eps,
        }));
    }
    let norm = need(get("model.norm.weight".into())?, "model.norm.weight")?;
    let head = get("lm_head.weight".into())?;
    Ok(Llama {
        positions: Positions::new(&config, device),
        config,
        name: String::new(),
        dtype,
        device: device.clone(),
        embed,
        blocks,
        norm,
        head,
        tokenizer: None,
        lora: None,
        checkpoint_every: 0,
        activation_budget: 0,
        training: true,
    })
}
