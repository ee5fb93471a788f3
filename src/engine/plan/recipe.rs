//! A recipe's settings as far as memory and time are concerned, and what they come to for a model.

use super::rates::Rates;
use super::split::{Phases, Split};
use super::walk::{BatchShape, Foretold, StepShape, foretell};
use crate::engine::autograd::Autocast;
use crate::engine::data::loader::{LoaderOptions, Windows};
use crate::engine::data::tokenize::Tokenized;
use crate::engine::error::{Error, Result, unknown_name};
use crate::engine::interrupt;
use crate::engine::llama::{Llama, LlamaConfig, init::Init};
use crate::engine::lora::LoraConfig;
use candle_core::{DType, Device};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
    /// Bytes of activations that those may keep all the same.
    pub activation_budget: usize,
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
            activation_budget: 128 << 20,
            batch_size: 4,
            grad_accum_steps: 8,
            slots: 2,
            pack: None,
        }
    }
}

/// Most sequences of an optimizer step.
const MOST: usize = 1 << 20;

impl Recipe {
    /// [`Recipe::slots`] of the optimizer called `name`.
    ///
    /// # Errors
    /// For an unknown name.
    pub fn slots_of(name: &str) -> Result<usize> {
        match name {
            "adamw" => Ok(2),
            "sgd" => Ok(0), // without momentum
            _ => Err(unknown_name("optimizer", name, ["adamw", "sgd"])),
        }
    }

    /// Sequences of an optimizer step.
    ///
    /// # Errors
    /// If there are none, or more than anybody trains with.
    pub fn window(&self) -> Result<usize> {
        let (size, accumulate) = (self.batch_size, self.grad_accum_steps);
        for (name, value) in [("batch_size", size), ("grad_accum_steps", accumulate)] {
            if value == 0 || value > MOST {
                return Err(Error::config(format!("plan: {name} is {value}; it must be from 1 to {MOST}")));
            }
        }
        match size * accumulate {
            window @ ..=MOST => Ok(window),
            _ => Err(Error::config(format!("plan: {size} x {accumulate} sequences in a step are more than {MOST}"))),
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
    /// Where those are; it is all of them.
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

impl Plan {
    /// Tokens per second, padding not counted, where rates are known.
    pub fn tokens_per_s(&self) -> Option<f64> {
        self.step_seconds.map(|seconds| self.tokens / seconds)
    }
}

/// The shape of `config` as `recipe` trains it: no weights.
fn shape(config: &LlamaConfig, recipe: &Recipe) -> Result<Llama> {
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

/// The micro-batches of an epoch by shape.
struct Epoch {
    /// Micro-batches, and how many are alike.
    shapes: BTreeMap<BatchShape, usize>,
    /// Windows that these are of: all there are, or one that stands for any number.
    windows: usize,
    /// Tokens of a window, padding not counted, on average.
    tokens: f64,
    /// Windows of the whole epoch, where that is known.
    steps: Option<usize>,
}

impl Epoch {
    fn of(recipe: &Recipe, lengths: &Lengths) -> Result<Epoch> {
        let (size, accumulate) = (recipe.batch_size, recipe.grad_accum_steps);
        let data = match lengths {
            Lengths::Data(data) => data,
            Lengths::Same { seq_len, labels, examples } => {
                let learned = labels.unwrap_or(seq_len.saturating_sub(1)).min(*seq_len);
                let shape = BatchShape { rows: size, width: *seq_len, labels: size * learned };
                let window = size * accumulate;
                return Ok(Epoch {
                    shapes: BTreeMap::from([(shape, accumulate)]),
                    windows: 1,
                    tokens: (window * seq_len) as f64,
                    steps: (*examples > 0).then(|| examples.div_ceil(window)),
                });
            }
        };
        let options = LoaderOptions { size, accumulate, pack: recipe.pack, ..LoaderOptions::default() };
        let mut shapes = BTreeMap::new();
        let (mut tokens, mut windows) = (0, 0);
        for window in Windows::new(data, options)? {
            windows += 1;
            for batch in window {
                tokens += batch.tokens;
                let shape = BatchShape { rows: batch.rows, width: batch.width, labels: batch.label_tokens };
                *shapes.entry(shape).or_default() += 1;
            }
        }
        Ok(Epoch { shapes, windows, tokens: tokens as f64 / windows as f64, steps: Some(windows) })
    }

    /// The shapes among which the highest peak is: none has at least as many tokens, as wide a row and as many labels.
    fn candidates(&self) -> Vec<BatchShape> {
        let mut all: Vec<BatchShape> = self.shapes.keys().copied().filter(|s| s.labels > 0).collect();
        all.sort_unstable_by_key(|s| Reverse((s.rows * s.width, s.width, s.labels)));
        let mut front: Vec<BatchShape> = Vec::new();
        for shape in all {
            // What comes before has at least as many tokens.
            if !front.iter().any(|f| f.width >= shape.width && f.labels >= shape.labels) {
                front.push(shape);
            }
        }
        front
    }

    /// At most 32 shapes that stand for all, with how many micro-batches each stands for: time grows smoothly with length.
    fn sampled(&self) -> Vec<(BatchShape, f64)> {
        const MOST: usize = 32;
        let mut all: Vec<_> = self.shapes.iter().filter(|(s, _)| s.labels > 0).map(|(s, n)| (*s, *n)).collect();
        all.sort_by_key(|(s, _)| (s.rows * s.width, s.labels));
        let per = all.len().div_ceil(MOST).max(1);
        let middle =
            |part: &[(BatchShape, usize)]| (part[part.len() / 2].0, part.iter().map(|(_, n)| *n as f64).sum::<f64>());
        all.chunks(per).map(middle).collect()
    }
}

/// Batch size, accumulation and packing: what an epoch's micro-batches depend on.
type Batching = (usize, usize, Option<usize>);

/// Plans of one model and one set, by several recipes. An epoch is gone through once for all recipes that batch alike: with
/// data that takes longer than the rest.
pub(super) struct Planner<'a> {
    config: &'a LlamaConfig,
    lengths: &'a Lengths,
    rates: Option<&'a Rates>,
    epochs: BTreeMap<Batching, Epoch>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(config: &'a LlamaConfig, lengths: &'a Lengths, rates: Option<&'a Rates>) -> Result<Self> {
        let longest = match lengths {
            Lengths::Same { seq_len, .. } => *seq_len,
            Lengths::Data(data) => data.examples().iter().map(|e| e.ids.len()).max().unwrap_or(0),
        };
        let room = config.max_position_embeddings;
        if longest > room {
            return Err(Error::config_help(
                format!("plan: sequences of {longest} tokens are longer than the model's {room} positions"),
                "plan with shorter ones",
            ));
        }
        Ok(Planner { config, lengths, rates, epochs: BTreeMap::new() })
    }

    /// As [`plan`].
    pub(super) fn plan(&mut self, recipe: &Recipe) -> Result<Plan> {
        recipe.window()?;
        let model = shape(self.config, recipe)?;
        let epoch = match self.epochs.entry((recipe.batch_size, recipe.grad_accum_steps, recipe.pack)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Epoch::of(recipe, self.lengths)?),
        };
        let step = |shape: BatchShape, micro_batches: usize| StepShape {
            window: vec![shape; micro_batches],
            amp: recipe.amp,
            checkpoint_every: recipe.checkpoint_every,
            activation_budget: recipe.activation_budget,
            slots: recipe.slots,
        };
        // Gradients of earlier micro-batches are there in the later ones.
        let accumulated = recipe.grad_accum_steps.min(2);
        let mut worst: Option<(Foretold, BatchShape)> = None;
        for shape in epoch.candidates() {
            interrupt::poll()?;
            let foretold = foretell(&model, &step(shape, accumulated))?;
            if worst.as_ref().is_none_or(|(w, _)| foretold.peak > w.peak) {
                worst = Some((foretold, shape));
            }
        }
        let (foretold, widest) =
            worst.ok_or_else(|| Error::config("plan: no micro-batch of the data has anything to learn"))?;
        let step_seconds = match self.rates {
            None => None,
            Some(rates) => {
                let mut seconds = rates.seconds(&foretold.update);
                for (shape, count) in epoch.sampled() {
                    interrupt::poll()?;
                    seconds += rates.seconds(&foretell(&model, &step(shape, 1))?.work) * count / epoch.windows as f64;
                }
                Some(seconds)
            }
        };
        let loading = loading(foretold.phases.weights);
        let split = if loading > foretold.peak {
            Split::of(&Phases { weights: foretold.phases.weights, forward: loading, ..Phases::default() })
        } else {
            foretold.split
        };
        Ok(Plan {
            params: model.num_params(),
            trainable: model.num_trainable(),
            peak: foretold.peak.max(loading),
            split,
            phases: foretold.phases,
            loading,
            widest,
            tokens: epoch.tokens,
            step_seconds,
            steps: epoch.steps,
        })
    }
}

/// Foretells what training a model of `config` by `recipe` takes; times where `rates` are given.
///
/// With data, the peak is that of the epoch's most expensive micro-batch, and times are those of its own lengths.
///
/// # Errors
/// If the recipe makes no sense for the model or the data.
pub fn plan(config: &LlamaConfig, recipe: &Recipe, lengths: &Lengths, rates: Option<&Rates>) -> Result<Plan> {
    Planner::new(config, lengths, rates)?.plan(recipe)
}

/// `weights::stored`: the result, and for each thread a chunk in the file's order and one converted.
fn loading(weights: usize) -> usize {
    const CHUNK: usize = 1 << 16;
    weights + rayon::current_num_threads() * CHUNK * 2 * size_of::<f32>()
}
