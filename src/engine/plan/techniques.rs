//! Memory by technique: one model and one optimizer step, from full fine-tuning on, a technique more in each line.

use super::rates::Rates;
use super::recipe::{Lengths, Plan, Planner, Recipe, plan};
use crate::engine::autograd::Autocast;
use crate::engine::error::{Error, Result};
use crate::engine::llama::LlamaConfig;
use candle_core::DType;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Technique {
    /// What is done.
    pub name: &'static str,
    /// The settings.
    pub recipe: Recipe,
    /// What they take.
    pub plan: Plan,
}

/// The table for the sequences of one optimizer step of `recipe`, which all lines share. Before accumulation they are one
/// batch. The last line packs them: rows of `seq_len` tokens without padding, of which `fill` were tokens before.
///
/// # Errors
/// As [`plan`], and if `fill` is no share.
pub fn techniques(
    config: &LlamaConfig,
    recipe: &Recipe,
    lengths: &Lengths,
    fill: f64,
    rates: Option<&Rates>,
) -> Result<Vec<Technique>> {
    if !(fill > 0.0 && fill <= 1.0) {
        return Err(Error::config(format!("plan: fill is {fill}; it is a share, above 0 and up to 1")));
    }
    let window = recipe.window()?;
    let lora = recipe.lora.clone().or_else(|| Recipe::default().lora);
    let low = if recipe.amp == Autocast::Off { Autocast::Bf16 } else { recipe.amp };
    let every = recipe.checkpoint_every.max(1);
    let full = Recipe {
        lora: None,
        dtype: DType::F32,
        amp: Autocast::Off,
        checkpoint_every: 0,
        activation_budget: 0,
        batch_size: window,
        grad_accum_steps: 1,
        slots: recipe.slots,
        pack: None,
    };
    let adapted = Recipe { lora, ..full.clone() };
    let mixed = Recipe { amp: low, ..adapted.clone() };
    let checkpointed = Recipe { checkpoint_every: every, ..mixed.clone() };
    let accumulated =
        Recipe { batch_size: recipe.batch_size, grad_accum_steps: recipe.grad_accum_steps, ..checkpointed.clone() };
    let halved = Recipe { dtype: DType::BF16, ..accumulated.clone() };
    let mut planner = Planner::new(config, lengths, rates)?;
    let mut table = Vec::new();
    for (name, recipe) in [
        ("full fine-tuning", full),
        ("LoRA", adapted),
        ("+ mixed precision", mixed),
        ("+ checkpointing", checkpointed),
        ("+ accumulation", accumulated),
        ("+ bf16 weights", halved.clone()),
    ] {
        let plan = planner.plan(&recipe)?;
        table.push(Technique { name, recipe, plan });
    }
    // The same tokens in fewer positions.
    let (packed, lengths) = match lengths {
        Lengths::Same { seq_len, labels, examples } => {
            let shorter = ((*seq_len as f64 * fill).ceil() as usize).max(2);
            (halved, Lengths::Same { seq_len: shorter, labels: *labels, examples: *examples })
        }
        Lengths::Data(data) => {
            let longest = data.examples().iter().map(|e| e.ids.len()).max();
            (Recipe { pack: longest, ..halved }, lengths.clone())
        }
    };
    let plan = plan(config, &packed, &lengths, rates)?;
    table.push(Technique { name: "+ packing", recipe: packed, plan });
    Ok(table)
}
