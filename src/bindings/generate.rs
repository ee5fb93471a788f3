//! `model.generate(..)` and `model.complete(..)`.

use super::ids::token_ids;
use super::llama::Model;
use super::registration::function;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::generate::{GenerateConfig, Generated, sampling::SamplingConfig};
use crate::engine::{Result, error::Error};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, ImmutableString, Map};
use std::time::Instant;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    function("generate", ["model: Model", "prompt: string or Array", "string"])
        .register_into_engine(engine, move |m: &mut Model, p: Dynamic| text(&c, m, &p, Map::new()));
    let c = ctx.clone();
    function("generate", ["model: Model", "prompt: string or Array", "options: Map", "string"])
        .register_into_engine(engine, move |m: &mut Model, p: Dynamic, o: Map| text(&c, m, &p, o));
    let c = ctx.clone();
    function("complete", ["model: Model", "prompt: string or Array", "Map"])
        .register_into_engine(engine, move |m: &mut Model, p: Dynamic| complete(&c, m, &p, Map::new()));
    let c = ctx.clone();
    function("complete", ["model: Model", "prompt: string or Array", "options: Map", "Map"])
        .register_into_engine(engine, move |m: &mut Model, p: Dynamic, o: Map| complete(&c, m, &p, o));
}

fn text(ctx: &Context, model: &mut Model, prompt: &Dynamic, options: Map) -> ScriptResult<String> {
    Ok(run(ctx, model, prompt, options)?.text)
}

fn complete(ctx: &Context, model: &mut Model, prompt: &Dynamic, options: Map) -> ScriptResult<Map> {
    let start = Instant::now();
    let answer = run(ctx, model, prompt, options)?;
    let seconds = start.elapsed().as_secs_f64();
    let ids: Array = answer.ids.iter().map(|id| Dynamic::from(INT::from(*id))).collect();
    Ok(Map::from([
        ("text".into(), answer.text.into()),
        ("tokens_per_s".into(), (ids.len() as FLOAT / seconds.max(1e-9)).into()),
        ("ids".into(), ids.into()),
        ("prompt_tokens".into(), (answer.prompt_tokens as INT).into()),
        ("reason".into(), answer.reason.name().to_string().into()),
        ("seconds".into(), seconds.into()),
    ]))
}

fn run(ctx: &Context, model: &mut Model, prompt: &Dynamic, options: Map) -> Result<Generated> {
    let mut o = OptionsMap::new("generate", options);
    let default = SamplingConfig::default();
    let seed = o.int_or("seed", 0)?;
    let config = GenerateConfig {
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
    };
    let stream = o.bool_or("stream", false)?;
    o.finish()?;
    let mut model = model.write();
    let ids = if let Some(text) = prompt.read_lock::<ImmutableString>() {
        model.prompt_ids(&text)?
    } else if let Some(ids) = prompt.read_lock::<Array>() {
        token_ids(&ids)?
    } else {
        let given = prompt.type_name();
        return Err(Error::config(format!("generate: the prompt must be a string or an array of ids, not {given}")));
    };
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
