//! A recipe's settings as far as memory and time are concerned, and what they come to for a model.

use super::heap::Work;
use super::rates::Rates;
use super::split::{Phases, Split};
use super::walk::{BatchShape, StepShape, foretell};
use crate::engine::autograd::Autocast;
use crate::engine::data::loader::{LoaderOptions, Windows};
use crate::engine::data::tokenize::Tokenized;
use crate::engine::error::{Error, Result};
use crate::engine::llama::{Llama, LlamaConfig, init::Init};
use crate::engine::lora::LoraConfig;
use candle_core::{DType, Device};
use std::collections::BTreeMap;

/// Settings of a training run.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The adapter; `None`: every parameter is trained.
    pub lora: Option<LoraConfig>,
    /// Of the base weights.
    pub dtype: DType,
    /// Of matrix products.
    pub amp: Autocast,
    /// Blocks per checkpointed segment; 0: none.
    pub checkpoint_every: usize,
    /// Sequences of a micro-batch.
    pub batch_size: usize,
    /// Micro-batches of an optimizer step.
    pub grad_accum_steps: usize,
    /// Numbers that the optimizer remembers of each trainable one: 2 for AdamW.
    pub slots: usize,
    /// Tokens of a row that several examples of a data set share; `None`: a row each.
    pub pack: Option<usize>,
}

impl Default for Recipe {
    /// What `scripts/finetune.rhai` does.
    fn default() -> Self {
        Recipe {
            lora: Some(LoraConfig { rank: 16, alpha: 32.0, dropout: 0.05, ..LoraConfig::default() }),
            dtype: DType::F32,
            amp: Autocast::Bf16,
            checkpoint_every: 2,
            batch_size: 4,
            grad_accum_steps: 8,
            slots: 2,
            pack: None,
        }
    }
}

/// The sequences that a run goes through.
#[derive(Debug, Clone)]
pub enum Lengths {
    /// All alike.
    Same {
        /// Tokens of each sequence.
        seq_len: usize,
        /// Those of a sequence that are learned; `None`: all but the first.
        labels: Option<usize>,
        /// Sequences of an epoch; 0: not known.
        examples: usize,
    },
    /// As a tokenized set has them.
    Data(Tokenized),
}

/// What a run is going to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Parameters of the base.
    pub params: usize,
    /// Those that are trained, an adapter's included.
    pub trainable: usize,
    /// Most bytes at once, in loading and training.
    pub peak: usize,
    /// Where those are.
    pub split: Split,
    /// Phase by phase, for the step with the highest peak.
    pub phases: Phases,
    /// Most bytes at once while the weights are loaded.
    pub loading: usize,
    /// The widest micro-batch.
    pub widest: BatchShape,
    /// Tokens of an optimizer step, padding not counted, on average.
    pub tokens: f64,
    /// Seconds of an optimizer step, on average, where rates are known.
    pub step_seconds: Option<f64>,
    /// Optimizer steps of an epoch, where the number of sequences is known.
    pub steps: Option<usize>,
}

/// The shape of `config` as `recipe` trains it: no weights.
///
/// # Errors
/// If the recipe's adapter does not fit.
pub fn shape(config: &LlamaConfig, recipe: &Recipe) -> Result<Llama> {
    let mut model = Llama::from_config(config.clone(), Init::Shapes, recipe.dtype, &Device::Cpu)?;
    match &recipe.lora {
        Some(lora) => {
            model.inject_lora(lora.clone())?;
        }
        None => {
            model.unfreeze("*")?;
        }
    }
    Ok(model)
}

/// The micro-batches of an epoch by shape, with how many there are of each.
struct Epoch {
    /// Rows, width and labels of micro-batches, and how many are alike.
    shapes: BTreeMap<(usize, usize, usize), usize>,
    tokens: usize,
    windows: usize,
    /// Whether the sequences are all there are, or one window stands for any number.
    whole: bool,
}

fn epoch(recipe: &Recipe, lengths: &Lengths) -> Result<Epoch> {
    let (size, accumulate) = (recipe.batch_size, recipe.grad_accum_steps);
    let mut shapes = BTreeMap::new();
    match lengths {
        Lengths::Same { seq_len, labels, examples } => {
            let learned = labels.unwrap_or(seq_len.saturating_sub(1)).min(*seq_len);
            shapes.insert((size, *seq_len, size * learned), accumulate);
            let (window, windows) = (size * accumulate, examples.div_ceil((size * accumulate).max(1)));
            Ok(Epoch {
                shapes,
                tokens: window * seq_len * windows.max(1),
                windows: windows.max(1),
                whole: *examples > 0,
            })
        }
        Lengths::Data(data) => {
            let windows =
                Windows::new(data, LoaderOptions { size, accumulate, pack: recipe.pack, ..LoaderOptions::default() })?;
            let (mut tokens, mut count) = (0, 0);
            for window in windows {
                count += 1;
                for batch in window {
                    tokens += batch.tokens;
                    *shapes.entry((batch.rows, batch.width, batch.label_tokens)).or_default() += 1;
                }
            }
            Ok(Epoch { shapes, tokens, windows: count, whole: true })
        }
    }
}

/// Foretells what training a model of `config` by `recipe` takes; times where `rates` are given.
///
/// With data, the peak is that of the epoch's most expensive micro-batch, and times are those of its own lengths.
///
/// # Errors
/// If the recipe makes no sense for the model or the data.
pub fn plan(config: &LlamaConfig, recipe: &Recipe, lengths: &Lengths, rates: Option<&Rates>) -> Result<Plan> {
    for (name, value) in [("batch_size", recipe.batch_size), ("grad_accum_steps", recipe.grad_accum_steps)] {
        if value == 0 || value > 1 << 20 {
            return Err(Error::config(format!("plan: {name} is {value}; it must be from 1 to {}", 1 << 20)));
        }
    }
    let model = shape(config, recipe)?;
    let epoch = epoch(recipe, lengths)?;
    let widest = epoch.shapes.keys().map(|s| s.1).max().unwrap_or(0);
    if widest > config.max_position_embeddings {
        return Err(Error::config_help(
            format!(
                "plan: sequences of {widest} tokens are longer than the model's {} positions",
                config.max_position_embeddings
            ),
            "plan with shorter ones",
        ));
    }
    let step = |shape: &(usize, usize, usize)| StepShape {
        // Gradients of earlier micro-batches are there in the later ones.
        window: vec![BatchShape { rows: shape.0, width: shape.1, labels: shape.2 }; recipe.grad_accum_steps.min(2)],
        amp: recipe.amp,
        checkpoint_every: recipe.checkpoint_every,
        slots: recipe.slots,
    };
    let mut worst: Option<(super::walk::Foretold, (usize, usize, usize))> = None;
    for shape in candidates(&epoch) {
        let foretold = foretell(&model, &step(&shape))?;
        if worst.as_ref().is_none_or(|(w, _)| foretold.peak > w.peak) {
            worst = Some((foretold, shape));
        }
    }
    let (foretold, widest) =
        worst.ok_or_else(|| Error::config("plan: no micro-batch of the data has anything to learn"))?;
    let step_seconds = match rates {
        None => None,
        Some(rates) => {
            let one = |shape: &(usize, usize, usize)| -> Result<Work> {
                let alone = StepShape { window: step(shape).window[..1].to_vec(), ..step(shape) };
                Ok(foretell(&model, &alone)?.work)
            };
            let mut seconds = 0.0;
            for (shape, count) in sampled(&epoch) {
                seconds += rates.seconds(&one(&shape)?) * count;
            }
            // `Same` lists one window, data the windows of an epoch.
            Some(if matches!(lengths, Lengths::Same { .. }) { seconds } else { seconds / epoch.windows as f64 })
        }
    };
    let loading = loading(foretold.phases.weights);
    Ok(Plan {
        params: model.num_params(),
        trainable: model.num_trainable(),
        peak: foretold.peak.max(loading),
        split: foretold.split,
        phases: foretold.phases,
        loading,
        widest: BatchShape { rows: widest.0, width: widest.1, labels: widest.2 },
        tokens: epoch.tokens as f64 / epoch.windows as f64,
        step_seconds,
        steps: epoch.whole.then_some(epoch.windows),
    })
}

/// The shapes among which the highest peak is: none has at least as many tokens, as wide a row and as many labels.
fn candidates(epoch: &Epoch) -> Vec<(usize, usize, usize)> {
    let all: Vec<_> = epoch.shapes.keys().copied().filter(|s| s.2 > 0).collect();
    let over = |a: &(usize, usize, usize), b: &(usize, usize, usize)| {
        a != b && a.0 * a.1 >= b.0 * b.1 && a.1 >= b.1 && a.2 >= b.2
    };
    all.iter().filter(|s| !all.iter().any(|other| over(other, s))).copied().collect()
}

/// At most 32 shapes that stand for all, with how many micro-batches each stands for: time grows smoothly with length.
fn sampled(epoch: &Epoch) -> Vec<((usize, usize, usize), f64)> {
    const MOST: usize = 32;
    let mut all: Vec<_> = epoch.shapes.iter().filter(|(s, _)| s.2 > 0).map(|(s, n)| (*s, *n)).collect();
    all.sort_by_key(|(s, _)| (s.0 * s.1, s.2));
    let per = all.len().div_ceil(MOST).max(1);
    let middle = |part: &[((usize, usize, usize), usize)]| {
        (part[part.len() / 2].0, part.iter().map(|(_, n)| *n as f64).sum::<f64>())
    };
    all.chunks(per).map(middle).collect()
}

/// `weights::stored`: the result, and for each thread a chunk in the file's order and one converted.
fn loading(weights: usize) -> usize {
    const CHUNK: usize = 1 << 16;
    weights + rayon::current_num_threads() * CHUNK * 2 * size_of::<f32>()
}
