//! `host plan`: what training a model will take, in memory and time, before anything is loaded.

use super::{Exit, fail, printer::Printer};
use crate::bindings::Output;
use crate::engine::autograd::Autocast;
use crate::engine::data::{source, split::Subset, tokenize, wording::Layout};
use crate::engine::error::Error;
use crate::engine::lora::{LoraConfig, Targets};
use crate::engine::memory::{parse_size, parse_size_or_zero, show_size};
use crate::engine::number::grouped;
use crate::engine::plan::{self, Choice, Free, Lengths, ModelSource, Plan, Rates, Recipe, Technique, describe};
use crate::engine::{Result, ops::cast};
use crate::script::Diagnostic;
use std::sync::Arc;

/// Say what training a model will take, in memory and time, before loading it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The settings are those of `host run finetune`, with its defaults. Exit codes: 0 done, 1 nothing fits \
                        the budget of --fit, 2 wrong usage."
)]
pub(super) struct Args {
    /// A model's file or directory, a config.json, a name in the hub's cache, or a preset such as llama-2-7b
    #[arg(long, default_value = "builtin:stories260K")]
    model: String,
    /// Training data: the lengths of its records are planned with; without it all are of --max-seq-len tokens
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    data: Option<String>,
    /// Use the first so many records
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,
    /// Template of the data: auto, chat, alpaca, or one of your own with {instruction}
    #[arg(long, default_value = "auto")]
    template: String,
    /// Tokens of a sequence, or of the longest one [default: 512, or what the model takes]
    #[arg(long, visible_alias = "seq-len", value_name = "N")]
    max_seq_len: Option<usize>,
    /// Tokens of a sequence that are learned, without --data [default: all]
    #[arg(long, value_name = "N")]
    labels: Option<usize>,
    /// Sequences of an epoch, without --data
    #[arg(long, value_name = "N", default_value_t = 0)]
    examples: usize,
    /// Put several records of --data into a row, of so many tokens
    #[arg(long, value_name = "N", requires = "data")]
    pack: Option<usize>,
    #[arg(long, value_name = "N", default_value_t = 3)]
    epochs: usize,
    /// Sequences of a micro-batch [default: 4]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Micro-batches of an optimizer step
    #[arg(long, value_name = "N", default_value_t = 8)]
    grad_accum_steps: usize,
    /// Train every parameter, without an adapter
    #[arg(long)]
    full: bool,
    #[arg(long, value_name = "N", default_value_t = 16)]
    rank: usize,
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    dropout: f64,
    /// Layers that get an adapter, separated by commas; or all-linear
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "q_proj,v_proj")]
    target_modules: Vec<String>,
    /// Recompute each so many blocks in backward; 0: keep all [default: 2]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<usize>,
    /// Activations that those may keep all the same, e.g. 1GiB; 0: none [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    activation_budget: Option<String>,
    /// Autocast of matrix products: off, bf16, f16
    #[arg(long, value_name = "DTYPE", default_value = "bf16")]
    amp: String,
    /// Of the base weights: f32, bf16, f16 [default: f32]
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    /// adamw, or sgd (without momentum)
    #[arg(long, default_value = "adamw")]
    optimizer: String,
    /// Choose batch size, checkpoints and weights' dtype, where they are not given, for this much memory, e.g. 16GiB
    #[arg(long, value_name = "SIZE")]
    fit: Option<String>,
    /// Memory by technique, from full fine-tuning on
    #[arg(long, conflicts_with = "fit")]
    table: bool,
    /// Share of a padded batch that is tokens, for the packing line of --table
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    fill: f64,
    /// As JSON, sizes in MiB
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    match planned(args, printer) {
        Ok(exit) => exit,
        Err(error) => {
            fail(printer, &Diagnostic::from(&error));
            Exit::Usage
        }
    }
}

/// The flags, understood.
struct Asked {
    model: ModelSource,
    recipe: Recipe,
    lengths: Lengths,
    epochs: usize,
}

fn planned(args: &Args, printer: &Printer) -> Result<Exit> {
    let model = ModelSource::open(&args.model)?;
    let recipe = recipe(args)?;
    let lengths = lengths(args, &model)?;
    let asked = Asked { model, recipe, lengths, epochs: args.epochs };
    let (name, config) = (&asked.model.name, &asked.model.config);
    let rates = Rates::of_this_machine()?;
    if args.table {
        let rows = plan::techniques(config, &asked.recipe, &asked.lengths, args.fill, Some(&rates))?;
        let json = || rows.iter().map(|t| describe::technique(name, t, asked.epochs)).collect();
        printer.line(&if args.json { pretty(&json()) } else { table(&asked, &rows) });
        return Ok(Exit::Success);
    }
    let Some(budget) = &args.fit else {
        let plan = plan::plan(config, &asked.recipe, &asked.lengths, Some(&rates))?;
        let text = match args.json {
            true => pretty(&describe::plan(name, &asked.recipe, &plan, asked.epochs)),
            false => one(&asked, &asked.recipe, &plan),
        };
        printer.line(&text);
        return Ok(Exit::Success);
    };
    let budget = parse_size(budget)
        .ok_or_else(|| Error::config_help(format!("--fit: `{budget}` is no size"), "such as 16GiB or 800MiB"))?;
    let free = Free {
        batch_size: args.batch_size.is_none(),
        checkpoint_every: args.checkpoint_every.is_none(),
        activation_budget: args.activation_budget.is_none(),
        dtype: args.dtype.is_none(),
    };
    let choices = plan::fit(config, &asked.recipe, &asked.lengths, &rates, budget, free)?;
    let fits = choices.first().is_some_and(|c| c.fits);
    let json = || choices.iter().map(|c| describe::choice(name, c, asked.epochs)).collect();
    printer.line(&if args.json { pretty(&json()) } else { chosen(&asked, &choices, budget) });
    Ok(if fits { Exit::Success } else { Exit::Failed })
}

fn recipe(args: &Args) -> Result<Recipe> {
    let targets = match args.target_modules.as_slice() {
        [one] if one == "all-linear" => Targets::AllLinear,
        names => Targets::Names(names.to_vec()),
    };
    let standard = Recipe::default();
    let lora = LoraConfig { rank: args.rank, dropout: args.dropout, targets, ..LoraConfig::default() };
    let dtype = args.dtype.as_deref().map_or(Ok(standard.dtype), cast::parse_dtype)?;
    Ok(Recipe {
        lora: (!args.full).then_some(lora),
        dtype,
        amp: Autocast::parse(&args.amp)?,
        checkpoint_every: args.checkpoint_every.unwrap_or(standard.checkpoint_every),
        activation_budget: args.activation_budget.as_deref().map_or(Ok(standard.activation_budget), |text| {
            parse_size_or_zero(text).ok_or_else(|| {
                Error::config_help(format!("--activation-budget: `{text}` is no size"), "such as 128MiB, or 0")
            })
        })?,
        batch_size: args.batch_size.unwrap_or(standard.batch_size),
        grad_accum_steps: args.grad_accum_steps,
        slots: Recipe::slots_of(&args.optimizer)?,
        pack: args.pack,
    })
}

fn lengths(args: &Args, model: &ModelSource) -> Result<Lengths> {
    let most = model.config.max_position_embeddings;
    let max_seq_len = args.max_seq_len.unwrap_or(most.min(512));
    let Some(path) = &args.data else {
        return Ok(Lengths::Same { seq_len: max_seq_len, labels: args.labels, examples: args.examples });
    };
    let tokenizer = model.tokenizer.clone().ok_or_else(|| {
        Error::config_help(
            format!("{} comes without a tokenizer, so that {path} cannot be counted", model.name),
            "plan with --max-seq-len, --labels and --examples instead",
        )
    })?;
    let mut data = source::load(path, &source::ReadOptions::default())?;
    if args.limit > 0 {
        data = data.take(args.limit);
    }
    let options = tokenize::TokenizeOptions {
        template: Layout::parse(&args.template)?,
        max_seq_len,
        ..tokenize::TokenizeOptions::default()
    };
    Ok(Lengths::Data(tokenize::tokenize(&data, Arc::new(tokenizer), &options)?))
}

fn pretty(json: &serde_json::Value) -> String {
    // Plain data with string keys: there is nothing in it that JSON cannot hold.
    serde_json::to_string_pretty(json).unwrap_or_default()
}

/// `6,738,415,616`.
fn count(n: usize) -> String {
    grouped(&n.to_string())
}

/// `3200`, `57`, `0.42`.
fn rate(x: f64) -> String {
    if x < 10.0 { format!("{x:.2}") } else { format!("{x:.0}") }
}

/// `350 ms`, `12 s`, `3 min 20 s`, `5 h 10 min`, `3.2 days`.
fn time(seconds: f64) -> String {
    // Rounded before they are taken apart, so that nothing says `60 s` or `60 min`.
    let (whole, minutes) = (seconds.round() as u64, (seconds / 60.0).round() as u64);
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 59.95 => format!("{s:.1} s"),
        s if s < 3599.5 => format!("{} min {} s", whole / 60, whole % 60),
        s if s < 48.0 * 3600.0 => format!("{} h {} min", minutes / 60, minutes % 60),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

fn heading(asked: &Asked, recipe: &Recipe, plan: &Plan) -> String {
    let share = 100.0 * plan.trainable as f64 / plan.params as f64;
    let steps = match plan.steps {
        Some(n) => format!(", {} steps an epoch", count(n)),
        None => String::new(),
    };
    format!(
        "{}: {} parameters, {} trained ({share:.3} %)\n{}\n{} x {} tokens at most at a time, {} times to a step{steps}",
        asked.model.name,
        count(plan.params),
        count(plan.trainable),
        describe::settings(recipe),
        plan.widest.rows,
        plan.widest.width,
        recipe.grad_accum_steps,
    )
}

fn one(asked: &Asked, recipe: &Recipe, plan: &Plan) -> String {
    let mut lines = vec![heading(asked, recipe, plan), String::new()];
    let mut row = |name: &str, value: String| lines.push(format!("{name:14}{value}"));
    row("peak memory", format!("{:>12}   {:.0} MiB", show_size(plan.peak), describe::mib(plan.peak)));
    for (name, bytes) in plan.split.parts() {
        row(&format!("  {name}"), format!("{:>12}", show_size(bytes)));
    }
    if let (Some(seconds), Some(speed)) = (plan.step_seconds, plan.tokens_per_s()) {
        row("step", format!("{:>12}   {} tokens/s", time(seconds), rate(speed)));
        if let Some(run) = describe::run_seconds(plan, asked.epochs) {
            row("run", format!("{:>12}   {} epochs", time(run), asked.epochs));
        }
    }
    lines.push(String::new());
    lines.push(
        "memory is within about 3 %, data and tokenizer not counted; time is a guess from a short measurement".into(),
    );
    lines.join("\n")
}

/// Lines of a choice: settings as they go on a command line, memory, speed.
fn choice(c: &Choice) -> String {
    format!(
        "{:>5} {:>6} {:>11} {:>6} {:>12} {:>12}",
        c.recipe.batch_size,
        c.recipe.grad_accum_steps,
        c.recipe.checkpoint_every,
        c.recipe.dtype.as_str(),
        show_size(c.plan.peak),
        rate(c.tokens_per_s()),
    )
}

fn chosen(asked: &Asked, choices: &[Choice], budget: usize) -> String {
    const SHOWN: usize = 6;
    let head =
        format!("{:>5} {:>6} {:>11} {:>6} {:>12} {:>12}", "batch", "accum", "checkpoint", "dtype", "peak", "tokens/s");
    let fitting: Vec<&Choice> = choices.iter().filter(|c| c.fits).collect();
    let Some(best) = fitting.first() else {
        // The others are in the order of their peaks.
        let least: Vec<String> = choices.iter().take(3).map(choice).collect();
        return format!(
            "nothing fits {}: none of {} settings for {}. The least are\n\n{head}\n{}\n\na shorter --max-seq-len, --dtype bf16 \
             or fewer --target-modules take less",
            show_size(budget),
            choices.len(),
            asked.model.name,
            least.join("\n"),
        );
    };
    let mut lines = vec![one(asked, &best.recipe, &best.plan), String::new()];
    lines.push(format!(
        "the fastest of the {} settings (of {}) that fit {}:",
        fitting.len(),
        choices.len(),
        show_size(budget)
    ));
    lines.push(head);
    lines.extend(fitting.iter().take(SHOWN).map(|c| choice(c)));
    if fitting.len() > SHOWN {
        lines.push(format!("{:>5}", "..."));
    }
    let r = &best.recipe;
    // Rounding the weights is a decision: what keeping them costs is said beside it.
    let exact = fitting.iter().find(|c| c.recipe.dtype == asked.recipe.dtype);
    if let Some(exact) = exact.filter(|c| c.recipe.dtype != r.dtype) {
        lines.push(format!("\nthe fastest with {} weights:\n{}", exact.recipe.dtype.as_str(), choice(exact)));
    }
    lines.push(String::new());
    lines.push(format!(
        "--batch-size {} --grad-accum-steps {} --checkpoint-every {} --dtype {} --amp {}",
        r.batch_size,
        r.grad_accum_steps,
        r.checkpoint_every,
        r.dtype.as_str(),
        r.amp.name()
    ));
    lines.join("\n")
}

fn table(asked: &Asked, rows: &[Technique]) -> String {
    let mut lines = Vec::new();
    if let Some(last) = rows.last() {
        lines.push(heading(asked, &last.recipe, &last.plan));
        lines.push(String::new());
    }
    lines.push(format!(
        "{:20}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>14}",
        "", "peak", "weights", "adapter", "gradients", "optimizer", "activations", "temporary", "step"
    ));
    for row in rows {
        let mut line = format!("{:20}{:>12}", row.name, show_size(row.plan.peak));
        for (_, bytes) in row.plan.split.parts() {
            line += &format!("{:>12}", show_size(bytes));
        }
        line += &format!("{:>14}", row.plan.step_seconds.map(time).unwrap_or_default());
        lines.push(line);
    }
    lines.join("\n")
}
