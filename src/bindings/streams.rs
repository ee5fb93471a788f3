//! Sets larger than memory in scripts, `data::stream`, and sets mixed by weight, `data::mix`.

use super::batches::{BatchWindows, loader_options};
use super::data::Examples;
use super::error::placed;
use super::options_map::type_name;
use super::registration::function;
use super::{Context, OptionsMap, ScriptResult, records, tokenize};
use crate::engine::data::mix::{MixOptions, Stop, mix};
use crate::engine::data::source::ReadOptions;
use crate::engine::data::split::Subset;
use crate::engine::data::stream::Stream;
use crate::engine::data::tokenize::Tokenized;
use crate::engine::error::Error;
use crate::engine::tokenizer::Tokenizer;
use rhai::{Array, Dynamic, Engine, Map, Module, NativeCallContext};
use std::sync::Arc;

/// Examples between which a stream is shuffled, unless a script says.
const BUFFER: usize = 4096;

/// A file that is to be streamed, and how it is read.
#[derive(Debug, Clone)]
struct RecordStream {
    source: String,
    read: ReadOptions,
}

/// The functions of `data::` that make them.
pub(super) fn loading(module: &mut Module, ctx: &Context) {
    let c = ctx.clone();
    function("stream", ["path: string", "RecordStream"])
        .set_into_module(module, move |at: NativeCallContext, path: &str| placed(&at, stream(&c, path, Map::new())));
    let c = ctx.clone();
    function("stream", ["path: string", "options: Map", "RecordStream"])
        .set_into_module(module, move |at: NativeCallContext, path: &str, o: Map| placed(&at, stream(&c, path, o)));
    function("mix", ["sets: Array", "Examples"])
        .set_into_module(module, |at: NativeCallContext, sets: Array| placed(&at, mixed(sets, Map::new())));
    function("mix", ["sets: Array", "options: Map", "Examples"])
        .set_into_module(module, |at: NativeCallContext, sets: Array, o: Map| placed(&at, mixed(sets, o)));
}

fn stream(ctx: &Context, path: &str, options: Map) -> ScriptResult<RecordStream> {
    let read = records::read_options("data::stream", options)?;
    if !path.starts_with("builtin:") {
        ctx.access.read(path)?;
    }
    Ok(RecordStream { source: path.to_string(), read })
}

/// The methods of streams.
pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine
        .register_type_with_name::<RecordStream>("RecordStream")
        .register_type_with_name::<Stream>("Stream")
        .register_get("source", |s: &mut RecordStream| s.source.clone())
        .register_get("source", |s: &mut Stream| s.source().to_string())
        .register_fn("to_string", |s: &mut RecordStream| format!("RecordStream({})", s.source))
        .register_fn("to_string", |s: &mut Stream| format!("Stream({}, tokenized as it is read)", s.source()));
    let c = ctx.clone();
    function("tokenize", ["data: RecordStream", "tokenizer: Tokenizer", "Stream"])
        .register_into_engine(engine, move |s: &mut RecordStream, t: Tokenizer| tokenized(&c, s, t, Map::new()));
    let c = ctx.clone();
    function("tokenize", ["data: RecordStream", "tokenizer: Tokenizer", "options: Map", "Stream"])
        .register_into_engine(engine, move |s: &mut RecordStream, t: Tokenizer, o: Map| tokenized(&c, s, t, o));
    function("batches", ["data: Stream", "Windows"])
        .register_into_engine(engine, |s: &mut Stream| windows(s, Map::new()));
    function("batches", ["data: Stream", "options: Map", "Windows"]).register_into_engine(engine, windows);
}

fn tokenized(ctx: &Context, stream: &RecordStream, tokenizer: Tokenizer, options: Map) -> ScriptResult<Stream> {
    let mut o = OptionsMap::new("tokenize", options);
    let options = tokenize::options(ctx, &mut o)?;
    o.finish()?;
    Ok(Stream::new(&stream.source, stream.read.clone(), Arc::new(tokenizer), options)?)
}

fn windows(stream: &mut Stream, options: Map) -> ScriptResult<BatchWindows> {
    let mut o = OptionsMap::new("batches", options);
    let buffer = o.usize_or("buffer", BUFFER)?;
    let options = loader_options(&mut o, stream.max_seq_len())?;
    o.finish()?;
    Ok(BatchWindows::of_stream(stream.clone(), options, buffer))
}

fn mixed(sets: Array, options: Map) -> ScriptResult<Examples> {
    let parts = sets.iter().enumerate().map(|(i, set)| part(i, set)).collect::<ScriptResult<Vec<_>>>()?;
    let mut o = OptionsMap::new("data::mix", options);
    let options = MixOptions {
        seed: o.int_or("seed", 0)? as u64,
        stop: o.string_opt("stop")?.map_or(Ok(Stop::default()), |name| Stop::named(&name))?,
        len: o.usize_opt("len")?,
    };
    o.finish()?;
    Ok(Examples(mix(&parts, &options)?))
}

/// Set `i`: `#{ data, weight }`, or examples alone, which weigh as many as they are.
fn part(i: usize, set: &Dynamic) -> ScriptResult<(Tokenized, f64)> {
    if let Some(examples) = set.read_lock::<Examples>() {
        return Ok((examples.0.clone(), examples.0.len() as f64));
    }
    let Some(map) = set.read_lock::<Map>() else {
        let message =
            format!("data::mix: set {i} must be #{{ data: examples, weight: number }}, not {}", type_name(set));
        return Err(Error::config(message).into());
    };
    let mut o = OptionsMap::new("a set of data::mix", map.clone());
    let Some(examples) = o.object_opt::<Examples>("data", "tokenized examples")? else {
        return Err(Error::config(format!("data::mix: set {i} has no `data`")).into());
    };
    let weight = o.float_or("weight", examples.0.len() as f64)?;
    o.finish()?;
    Ok((examples.0, weight))
}

/// How many optimizer steps a stream has is known at its end.
pub(super) fn no_length() -> Error {
    Error::config_help(
        "how many windows a stream has is not known before its end",
        "train by steps: std/train's max_steps, or a schedule's total of your own",
    )
}
