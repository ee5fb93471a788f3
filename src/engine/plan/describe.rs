//! A plan as plain data, for scripts and `--json`; and its settings in words.

use super::fit::Choice;
use super::recipe::{Plan, Recipe};
use super::split::{Phases, Split};
use super::techniques::Technique;
use crate::engine::autograd::Autocast;
use serde_json::{Map, Value, json};

/// Bytes in MiB.
pub fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1u64 << 20) as f64
}

/// The parts of a peak by name, in MiB.
pub fn split(split: &Split) -> Value {
    split.parts().into_iter().map(|(name, bytes)| (name.to_string(), mib(bytes).into())).collect::<Map<_, _>>().into()
}

/// Most at once by phase, in MiB.
pub fn phases(phases: &Phases) -> Value {
    json!({ "forward": mib(phases.forward), "backward": mib(phases.backward), "update": mib(phases.update) })
}

/// What `recipe` and `plan` say, for `epochs` of training the model called `name`. Sizes are in MiB.
pub fn plan(name: &str, recipe: &Recipe, plan: &Plan, epochs: usize) -> Value {
    let lora = recipe.lora.as_ref();
    json!({
        "model": name,
        "params": plan.params,
        "trainable": plan.trainable,
        "peak_mib": mib(plan.peak),
        "split": split(&plan.split),
        "phases": phases(&plan.phases),
        "loading_mib": mib(plan.loading),
        "widest": [plan.widest.rows, plan.widest.width],
        "tokens": plan.tokens,
        "step_seconds": plan.step_seconds,
        "tokens_per_s": plan.tokens_per_s(),
        "steps": plan.steps.map(|n| n.saturating_mul(epochs)),
        "run_seconds": run_seconds(plan, epochs),
        "settings": {
            "tuning": if lora.is_some() { "lora" } else { "full" },
            "rank": lora.map(|l| l.rank),
            "target_modules": lora.map(|l| l.targets.names()),
            "dtype": recipe.dtype.as_str(),
            "amp": recipe.amp.name(),
            "checkpoint_every": recipe.checkpoint_every,
            "activation_budget_mib": mib(recipe.activation_budget),
            "batch_size": recipe.batch_size,
            "grad_accum_steps": recipe.grad_accum_steps,
        },
    })
}

/// A choice of settings: as [`plan`], with whether it `fits`.
pub fn choice(name: &str, choice: &Choice, epochs: usize) -> Value {
    let mut row = plan(name, &choice.recipe, &choice.plan, epochs);
    row["fits"] = choice.fits.into();
    row
}

/// A line of the table: as [`plan`], with the `technique`'s name.
pub fn technique(name: &str, line: &Technique, epochs: usize) -> Value {
    let mut row = plan(name, &line.recipe, &line.plan, epochs);
    row["technique"] = line.name.into();
    row
}

/// Seconds of `epochs` epochs, where their steps and a step's time are known.
pub fn run_seconds(plan: &Plan, epochs: usize) -> Option<f64> {
    Some(plan.step_seconds? * plan.steps? as f64 * epochs as f64)
}

/// `LoRA r 16 on q_proj, v_proj; f32 weights, bf16 autocast, a checkpoint every 2 blocks`.
pub fn settings(recipe: &Recipe) -> String {
    let tuning = match &recipe.lora {
        Some(lora) => format!("LoRA r {} on {}", lora.rank, lora.targets.names().join(", ")),
        None => "every parameter trained".to_string(),
    };
    let amp = match recipe.amp {
        Autocast::Off => "no autocast".to_string(),
        low => format!("{} autocast", low.name()),
    };
    let kept = match (recipe.checkpoint_every, recipe.activation_budget) {
        (0, _) | (_, 0) => String::new(),
        (_, bytes) => format!(", {:.0} MiB of activations kept", mib(bytes)),
    };
    format!("{tuning}; {} weights, {amp}, {}{kept}", recipe.dtype.as_str(), checkpoints(recipe.checkpoint_every))
}

/// `a checkpoint every 2 blocks`.
pub fn checkpoints(every: usize) -> String {
    match every {
        0 => "no checkpoints".into(),
        1 => "a checkpoint every block".into(),
        n => format!("a checkpoint every {n} blocks"),
    }
}
