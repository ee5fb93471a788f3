//! `model.generate(..)`, `model.complete(..)` and `model.complete_all(..)`.

use super::ids::token_ids;
use super::llama::Model;
use super::registration::function;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::generate::{BatchLimits, GenerateConfig, Generated, sampling::SamplingConfig};
use crate::engine::llama::Llama;
use crate::engine::progress::{Progress, Silent, Unit};
use crate::engine::{Result, error::Error};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, ImmutableString, Map, Variant};
use std::time::Instant;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    with_options(engine, ctx, "generate", ["prompt: string or Array", "string"], text);
    with_options(engine, ctx, "complete", ["prompt: string or Array", "Map"], complete);
    with_options(engine, ctx, "complete_all", ["prompts: Array", "Array"], complete_all);
}

/// Registers `call` as a method of models with one more parameter, without options and with them.
pub(super) fn with_options<A: Variant + Clone, R: Variant + Clone>(
    engine: &mut Engine,
    ctx: &Context,
    name: &str,
    [param, result]: [&str; 2],
    call: fn(&Context, &mut Model, A, Map) -> ScriptResult<R>,
) {
    let c = ctx.clone();
    function(name, ["model: Model", param, result])
        .register_into_engine(engine, move |m: &mut Model, a: A| call(&c, m, a, Map::new()));
    let c = ctx.clone();
    function(name, ["model: Model", param, "options: Map", result])
        .register_into_engine(engine, move |m: &mut Model, a: A, o: Map| call(&c, m, a, o));
}

fn text(ctx: &Context, model: &mut Model, prompt: Dynamic, options: Map) -> ScriptResult<String> {
    Ok(run(ctx, model, &prompt, options)?.text)
}

fn complete(ctx: &Context, model: &mut Model, prompt: Dynamic, options: Map) -> ScriptResult<Map> {
    let start = Instant::now();
    let answer = run(ctx, model, &prompt, options)?;
    Ok(facts(answer, start.elapsed().as_secs_f64()))
}

fn facts(answer: Generated, seconds: f64) -> Map {
    let ids: Array = answer.ids.iter().map(|id| Dynamic::from(INT::from(*id))).collect();
    Map::from([
        ("text".into(), answer.text.into()),
        ("tokens_per_s".into(), (ids.len() as FLOAT / seconds.max(1e-9)).into()),
        ("ids".into(), ids.into()),
        ("prompt_tokens".into(), (answer.prompt_tokens as INT).into()),
        ("reason".into(), answer.reason.name().to_string().into()),
        ("seconds".into(), seconds.into()),
    ])
}

fn complete_all(ctx: &Context, model: &mut Model, prompts: Array, options: Map) -> ScriptResult<Array> {
    let mut o = OptionsMap::new("complete_all", options);
    let (config, limits) = (config(&mut o)?, limits(&mut o)?);
    let label = o.string_or("progress", "")?;
    o.finish()?;
    let mut model = model.write();
    let ids = prompts.iter().map(|p| prompt_ids(&model, p)).collect::<Result<Vec<_>>>()?;
    let progress = shown(ctx, &label, ids.len());
    let start = Instant::now();
    let (mut done, mut seconds) = (0, vec![0.0; ids.len()]);
    let answers = model.generate_all(&ids, &config, limits, &mut |i, _| {
        seconds[i] = start.elapsed().as_secs_f64();
        done += 1;
        progress.update(done, &[]);
        Ok(())
    })?;
    progress.finish();
    Ok(answers.into_iter().zip(seconds).map(|(a, s)| Dynamic::from_map(facts(a, s))).collect())
}

/// A bar under `label`, or nothing where there is no label.
pub(super) fn shown(ctx: &Context, label: &str, total: usize) -> Box<dyn Progress> {
    if label.is_empty() { Box::new(Silent) } else { ctx.output.start(total as u64, label, Unit::Items) }
}

/// `batch_size` and `batch_tokens`.
pub(super) fn limits(o: &mut OptionsMap) -> Result<BatchLimits> {
    let default = BatchLimits::default();
    let limits = BatchLimits {
        rows: o.usize_or("batch_size", default.rows)?,
        tokens: o.usize_or("batch_tokens", default.tokens)?,
    };
    limits.validate()?;
    Ok(limits)
}

/// The options of `generate` but `stream`.
pub(super) fn config(o: &mut OptionsMap) -> Result<GenerateConfig> {
    let default = SamplingConfig::default();
    let seed = o.int_or("seed", 0)?;
    Ok(GenerateConfig {
        sampling: SamplingConfig {
            temperature: o.float_or("temperature", default.temperature)?,
            top_k: o.usize_opt("top_k")?,
            top_p: o.float_opt("top_p")?,
            min_p: o.float_opt("min_p")?,
            repetition_penalty: o.float_or("repetition_penalty", default.repetition_penalty)?,
            repetition_window: o.usize_opt("repetition_window")?,
            seed: seed as u64,
        },
        max_new_tokens: o.usize_or("max_new_tokens", 128usize)?,
        stop: o.strings_opt("stop")?.unwrap_or_default(),
        stop_at_eos: o.bool_or("stop_at_eos", true)?,
    })
}

/// The ids of a prompt given as text or as ids.
pub(super) fn prompt_ids(model: &Llama, prompt: &Dynamic) -> Result<Vec<u32>> {
    if let Some(text) = prompt.read_lock::<ImmutableString>() {
        model.prompt_ids(&text)
    } else if let Some(ids) = prompt.read_lock::<Array>() {
        token_ids(&ids)
    } else {
        let given = prompt.type_name();
        Err(Error::config(format!("generate: the prompt must be a string or an array of ids, not {given}")))
    }
}

fn run(ctx: &Context, model: &mut Model, prompt: &Dynamic, options: Map) -> Result<Generated> {
    let mut o = OptionsMap::new("generate", options);
    let config = config(&mut o)?;
    let stream = o.bool_or("stream", false)?;
    o.finish()?;
    let mut model = model.write();
    let ids = prompt_ids(&model, prompt)?;
    let answer = model.generate(&ids, &config, &mut |piece| {
        if stream {
            ctx.output.text(piece);
        }
        Ok(())
    })?;
    if stream {
        ctx.output.text("\n");
    }
    Ok(answer)
}
