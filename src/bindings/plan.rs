//! What training takes: `plan(#{ .. })` before anything is loaded, `measure_step(model, optimizer, batch)` on what is there.

use super::data::{Batch, Examples};
use super::llama::{Model, float_dtype};
use super::optim::Optim;
use super::options_map::type_name;
use super::registration::function;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::autograd::Autocast;
use crate::engine::error::{Error, unknown_name};
use crate::engine::llama::LlamaConfig;
use crate::engine::lora::{LoraConfig, Targets};
use crate::engine::plan::{
    self, Free, Lengths, Measured, ModelSource, Rates, Recipe, StepOptions, describe, measure_step,
};
use crate::engine::{Result, memory};
use rhai::{Array, Dynamic, Engine, FLOAT, ImmutableString, Map};

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    function("measure_step", ["model: Model", "optimizer: Optimizer", "batch: Batch or Array", "Map"])
        .register_into_engine(engine, |m: &mut Model, o: Optim, window: Dynamic| measure(m, &o, &window, Map::new()));
    function("measure_step", ["model: Model", "optimizer: Optimizer", "batch: Batch or Array", "options: Map", "Map"])
        .register_into_engine(engine, |m: &mut Model, o: Optim, window: Dynamic, options: Map| {
            measure(m, &o, &window, options)
        });
    let c = ctx.clone();
    function("plan", ["options: Map", "Map"]).register_into_engine(engine, move |o: Map| foretold(&c, o));
    let c = ctx.clone();
    function("plan_table", ["options: Map", "Array"]).register_into_engine(engine, move |o: Map| table(&c, o));
    function("calibrate", ["Map"]).register_into_engine(engine, || -> ScriptResult<Dynamic> {
        rhai::serde::to_dynamic(Rates::of_this_machine()?)
    });
}

fn measure(model: &Model, optimizer: &Optim, window: &Dynamic, options: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("measure_step", options);
    let default = StepOptions::default();
    let options = StepOptions {
        amp: Autocast::parse(&o.string_or("amp", default.amp.name())?)?,
        max_norm: o.float_or("max_norm", default.max_norm)?,
        update: o.bool_or("update", default.update)?,
        warmup: o.usize_or("warmup", default.warmup)?,
        threads: o.usize_or("threads", default.threads)?,
    };
    o.finish()?;
    let window = batches(window)?;
    let window: Vec<_> = window.iter().map(|b| &*b.0).collect();
    let measured = measure_step(&model.read(), &mut *optimizer.lock(), &window, &options)?;
    measured_map(&measured)
}

/// One batch, or the batches of a window.
fn batches(value: &Dynamic) -> Result<Vec<Batch>> {
    let wrong = |found: &Dynamic| {
        Error::config_help(
            format!("measure_step: a batch is needed, or the array of batches of one window, not {}", type_name(found)),
            "for window in data.batches(#{ size: 4 }) { measure_step(model, opt, window); break; }",
        )
    };
    if let Some(batch) = value.read_lock::<Batch>() {
        return Ok(vec![batch.clone()]);
    }
    let Some(list) = value.read_lock::<Array>() else { return Err(wrong(value)) };
    list.iter().map(|item| item.read_lock::<Batch>().map(|b| b.clone()).ok_or_else(|| wrong(item))).collect()
}

/// What `plan` and `plan_table` were asked.
struct Asked {
    name: String,
    config: LlamaConfig,
    recipe: Recipe,
    lengths: Lengths,
    epochs: usize,
    calibrate: bool,
    /// What was not given may be chosen for a budget.
    free: Free,
}

impl Asked {
    fn rates(&self) -> Result<Option<Rates>> {
        if self.calibrate { Rates::of_this_machine().map(Some) } else { Ok(None) }
    }
}

/// The option `activation_budget`, in bytes.
pub(super) fn activation_budget(o: &mut OptionsMap) -> Result<Option<usize>> {
    let Some(text) = o.string_opt("activation_budget")? else { return Ok(None) };
    let bytes = memory::parse_size_or_zero(&text);
    bytes.map(Some).ok_or_else(|| o.invalid("activation_budget", &text, "a size, such as 128MiB, or 0"))
}

fn asked(ctx: &Context, o: &mut OptionsMap) -> Result<Asked> {
    let standard = Recipe::default();
    let given = o.value_opt("model").ok_or_else(|| Error::config("plan: option `model` is missing"))?;
    let (name, config, live) = model(ctx, &given)?;
    let (live_dtype, live_lora, live_every, live_budget) = match &live {
        None => (standard.dtype, standard.lora.clone(), standard.checkpoint_every, standard.activation_budget),
        Some(m) => {
            let m = m.read();
            if m.dtype_name() != m.dtype.as_str() && !o.has("dtype") {
                return Err(Error::config_help(
                    format!("plan: weights that are kept as {} cannot be planned for", m.dtype_name()),
                    "give a dtype to plan with, or measure one step: measure_step(model, optimizer, batch)",
                ));
            }
            // A model that carries no adapter and has trainable weights is trained as a whole.
            let whole = m.lora.is_none() && m.num_trainable() > 0;
            let lora = if whole { None } else { m.lora.clone().or(standard.lora.clone()) };
            (m.dtype, lora, m.checkpoint_every, m.activation_budget)
        }
    };
    let lora = match o.string_opt("tuning")?.as_deref() {
        None => live_lora,
        Some("lora") => live_lora.or(standard.lora),
        Some("full") => None,
        Some(other) => return Err(unknown_name("tuning", other, ["lora", "full"])),
    };
    let adapter = lora.clone().unwrap_or_default();
    let targets = match o.strings_opt("target_modules")? {
        Some(names) if names.len() == 1 && names[0] == "all-linear" => Targets::AllLinear,
        Some(names) => Targets::Names(names),
        None => adapter.targets,
    };
    let adapter = LoraConfig {
        rank: o.usize_or("rank", adapter.rank)?,
        dropout: o.float_or("dropout", adapter.dropout)?,
        targets,
        ..adapter
    };
    let free = Free {
        batch_size: !o.has("batch_size"),
        checkpoint_every: !o.has("checkpoint_every"),
        activation_budget: !o.has("activation_budget"),
        dtype: !o.has("dtype"),
    };
    let recipe = Recipe {
        lora: lora.map(|_| adapter),
        dtype: o.string_opt("dtype")?.map_or(Ok(live_dtype), |name| float_dtype(&name))?,
        amp: Autocast::parse(&o.string_or("amp", standard.amp.name())?)?,
        checkpoint_every: o.usize_or("checkpoint_every", live_every)?,
        activation_budget: activation_budget(o)?.unwrap_or(live_budget),
        batch_size: o.usize_or("batch_size", standard.batch_size)?,
        grad_accum_steps: o.usize_or("grad_accum_steps", standard.grad_accum_steps)?,
        slots: Recipe::slots_of(&o.string_or("optimizer", "adamw")?)?,
        pack: o.usize_opt("pack")?,
    };
    let data = o.object_opt::<Examples>("data", "Examples")?;
    let same = Lengths::Same {
        seq_len: o.usize_or("seq_len", 512usize.min(config.max_position_embeddings))?,
        labels: o.usize_opt("labels")?,
        examples: o.usize_or("examples", 0usize)?,
    };
    Ok(Asked {
        name,
        config,
        recipe,
        lengths: data.map_or(same, |d| Lengths::Data(d.0)),
        epochs: o.usize_or("epochs", 1usize)?,
        calibrate: o.bool_or("calibrate", true)?,
        free,
    })
}

/// Name and shape of the model meant, and the model itself if that was given.
fn model(ctx: &Context, given: &Dynamic) -> Result<(String, LlamaConfig, Option<Model>)> {
    if let Some(model) = given.read_lock::<Model>() {
        let (name, config) = (model.read().name.clone(), model.read().config.clone());
        return Ok((name, config, Some(model.clone())));
    }
    if let Some(source) = given.read_lock::<ImmutableString>() {
        if let Some(path) = plan::source::locate(&source)? {
            ctx.access.read_model(&path)?;
        }
        let source = ModelSource::open(&source)?;
        return Ok((source.name, source.config, None));
    }
    if given.is_map() {
        let json: serde_json::Value =
            rhai::serde::from_dynamic(given).map_err(|e| Error::config(format!("plan: model: {e}")))?;
        return Ok(("custom".into(), LlamaConfig::from_options(&json)?, None));
    }
    Err(Error::config(format!("plan: model must be a string, a map or a Model, not {}", type_name(given))))
}

fn foretold(ctx: &Context, options: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("plan", options);
    let asked = asked(ctx, &mut o)?;
    let budget = match o.string_opt("fit")? {
        None => None,
        Some(text) => Some(memory::parse_size(&text).ok_or_else(|| o.invalid("fit", &text, "a size, such as 16GiB"))?),
    };
    o.finish()?;
    let Some(budget) = budget else {
        let plan = plan::plan(&asked.config, &asked.recipe, &asked.lengths, asked.rates()?.as_ref())?;
        return map_of(describe::plan(&asked.name, &asked.recipe, &plan, asked.epochs));
    };
    let rates = Rates::of_this_machine()?;
    let choices = plan::fit(&asked.config, &asked.recipe, &asked.lengths, &rates, budget, asked.free)?;
    let best = choices.first().ok_or_else(|| Error::config("plan: there was nothing to choose from"))?;
    let described = |c| map_of(describe::choice(&asked.name, c, asked.epochs));
    let mut map = described(best)?;
    let all = choices.iter().map(|c| described(c).map(Dynamic::from_map)).collect::<ScriptResult<Array>>()?;
    map.insert("choices".into(), all.into());
    Ok(map)
}

fn table(ctx: &Context, options: Map) -> ScriptResult<Array> {
    let mut o = OptionsMap::new("plan_table", options);
    let asked = asked(ctx, &mut o)?;
    let fill = o.float_or("fill", 1.0)?;
    o.finish()?;
    let rows = plan::techniques(&asked.config, &asked.recipe, &asked.lengths, fill, asked.rates()?.as_ref())?;
    rows.iter().map(|t| map_of(describe::technique(&asked.name, t, asked.epochs)).map(Dynamic::from_map)).collect()
}

fn map_of(json: serde_json::Value) -> ScriptResult<Map> {
    Ok(rhai::serde::to_dynamic(json)?.cast::<Map>()) // the descriptions are objects
}

fn measured_map(measured: &Measured) -> ScriptResult<Map> {
    map_of(serde_json::json!({
        "peak_mib": describe::mib(measured.peak),
        "split": describe::split(&measured.split),
        "phases": describe::phases(&measured.phases),
        "other_mib": describe::mib(measured.other),
        "seconds": measured.seconds,
        "tokens": measured.tokens,
        "tokens_per_s": measured.tokens as FLOAT / measured.seconds,
        "loss": measured.loss,
    }))
}
