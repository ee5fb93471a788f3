//! Settings that fit a budget: which of them are there, and which is fastest.

use super::rates::Rates;
use super::recipe::{Lengths, Plan, Planner, Recipe};
use crate::engine::error::Result;
use crate::engine::llama::LlamaConfig;
use candle_core::DType;

/// Which settings may be changed; the others are as the recipe has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// Micro-batch size. The sequences of an optimizer step stay as many: accumulation makes up for it.
    pub batch_size: bool,
    /// Blocks per checkpointed segment.
    pub checkpoint_every: bool,
    /// Bytes of activations kept in spite of checkpoints: none, where it would not fit with them.
    pub activation_budget: bool,
    /// bf16 for frozen weights.
    pub dtype: bool,
}

/// One choice of settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The settings.
    pub recipe: Recipe,
    /// What they take.
    pub plan: Plan,
    /// Whether that fits.
    pub fits: bool,
}

impl Choice {
    /// Tokens per second, padding not counted.
    pub fn tokens_per_s(&self) -> f64 {
        self.plan.tokens_per_s().unwrap_or(f64::NAN)
    }
}

/// All choices: those that fit `budget` bytes first, fastest first (settings within 1 % of each other count as equally fast,
/// and the one with less memory goes first), then the others, smallest first.
///
/// # Errors
/// As [`super::plan`].
pub fn fit(
    config: &LlamaConfig,
    recipe: &Recipe,
    lengths: &Lengths,
    rates: &Rates,
    budget: usize,
    free: Free,
) -> Result<Vec<Choice>> {
    let window = recipe.window()?;
    // Sizes that divide the step's sequences, so that those stay as many.
    let powers = std::iter::successors(Some(1usize), |n| Some(2 * n)).take_while(|n| window.is_multiple_of(*n));
    let mut sizes: Vec<usize> = powers.chain([recipe.batch_size, window]).collect();
    let root = (config.num_hidden_layers as f64).sqrt().round() as usize;
    let mut every = vec![0, 1, 2, root.max(1), recipe.checkpoint_every];
    let mut dtypes = vec![recipe.dtype];
    if free.dtype && recipe.lora.is_some() && recipe.dtype == DType::F32 {
        dtypes.push(DType::BF16);
    }
    if !free.batch_size {
        sizes = vec![recipe.batch_size];
    }
    if !free.checkpoint_every {
        every = vec![recipe.checkpoint_every];
    }
    for list in [&mut sizes, &mut every] {
        list.sort_unstable();
        list.dedup();
    }
    let mut planner = Planner::new(config, lengths, Some(rates))?;
    let mut all = Vec::new();
    for &batch_size in &sizes {
        for &checkpoint_every in &every {
            for &dtype in &dtypes {
                let mut recipe = Recipe {
                    batch_size,
                    grad_accum_steps: window / batch_size,
                    checkpoint_every,
                    dtype,
                    ..recipe.clone()
                };
                let mut plan = planner.plan(&recipe)?;
                if plan.peak > budget && free.activation_budget && checkpoint_every > 0 && recipe.activation_budget > 0
                {
                    recipe.activation_budget = 0;
                    plan = planner.plan(&recipe)?;
                }
                all.push(Choice { fits: plan.peak <= budget, recipe, plan });
            }
        }
    }
    all.sort_by(|a, b| {
        // Steps of 1 % on a logarithmic scale keep the order a total one.
        let speed = |c: &Choice| (c.tokens_per_s().ln() * 100.0).round() as i64;
        b.fits.cmp(&a.fits).then_with(|| {
            let by_size = a.plan.peak.cmp(&b.plan.peak);
            if a.fits { speed(b).cmp(&speed(a)).then(by_size) } else { by_size }
        })
    });
    Ok(all)
}
