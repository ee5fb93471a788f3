//! `data::`: records, tokenized examples, batches.

use super::error::placed;
use super::registration::function;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::data::loader::{LoaderOptions, Weighting, Windows};
use crate::engine::data::record::{Dataset, Fields, Record};
use crate::engine::data::split::Subset;
use crate::engine::data::template::Template;
use crate::engine::data::tokenize::{TokenizeOptions, Tokenized, tokenize};
use crate::engine::data::{batch, metrics, source};
use crate::engine::tokenizer::Tokenizer;
use crate::engine::{Result, error::Error, rng};
use rhai::{Array, Dynamic, Engine, FLOAT, FnPtr, INT, Map, Module, NativeCallContext};
use std::sync::Arc;

/// Tokenized examples as scripts hold them.
#[derive(Debug, Clone)]
pub struct Examples(pub(super) Tokenized);

/// One padded micro-batch.
#[derive(Debug, Clone)]
pub struct Batch(pub(super) Arc<batch::Batch>);

/// The optimizer windows of one epoch: what `for window in data.batches(..)` walks over.
#[derive(Debug, Clone)]
pub struct BatchWindows {
    data: Tokenized,
    options: LoaderOptions,
    len: usize,
}

impl BatchWindows {
    /// Optimizer steps of the whole epoch.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl IntoIterator for BatchWindows {
    type Item = Array;
    type IntoIter = Box<dyn Iterator<Item = Array>>;

    fn into_iter(self) -> Self::IntoIter {
        match Windows::new(&self.data, self.options) {
            Ok(windows) => {
                let batch = |b| Dynamic::from(Batch(Arc::new(b)));
                Box::new(windows.map(move |w| w.into_iter().map(batch).collect()))
            }
            // The options were checked when this value was made.
            Err(_) => Box::new(std::iter::empty()),
        }
    }
}

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine
        .register_type_with_name::<Dataset>("Records")
        .register_type_with_name::<Examples>("Examples")
        .register_type_with_name::<BatchWindows>("Windows")
        .register_type_with_name::<Batch>("Batch")
        .register_iterator::<BatchWindows>();
    loading(engine, ctx);
    records(engine);
    examples(engine);
    batches(engine);
}

fn count(what: &str, n: INT) -> Result<usize> {
    usize::try_from(n).map_err(|_| Error::config(format!("{what} must be 0 or more, not {n}")))
}

fn index(i: INT, len: usize) -> Result<usize> {
    let at = if i < 0 { i.checked_add(len as INT) } else { Some(i) };
    at.and_then(|i| usize::try_from(i).ok())
        .filter(|i| *i < len)
        .ok_or_else(|| Error::config(format!("index {i} is outside a set of {len}")))
}

fn loading(engine: &mut Engine, ctx: &Context) {
    let mut module = Module::new();
    let c = ctx.clone();
    function("load", ["path: string", "Records"])
        .set_into_module(&mut module, move |at: NativeCallContext, path: &str| placed(&at, load(&c, path, Map::new())));
    let c = ctx.clone();
    function("load", ["path: string", "options: Map", "Records"])
        .set_into_module(&mut module, move |at: NativeCallContext, path: &str, o: Map| placed(&at, load(&c, path, o)));
    function("records", ["list: Array", "Records"])
        .set_into_module(&mut module, |at: NativeCallContext, list: Array| placed(&at, from_array(list)));
    function("rouge_l", ["answer: string", "reference: string", "float"])
        .set_into_module(&mut module, |a: &str, r: &str| metrics::rouge_l(a, r).f1);
    function("exact_match", ["answer: string", "reference: string", "bool"])
        .set_into_module(&mut module, metrics::exact_match);
    engine.register_static_module("data", module.into());
}

fn load(ctx: &Context, path: &str, options: Map) -> ScriptResult<Dataset> {
    let mut o = OptionsMap::new("data::load", options);
    let mut fields = Fields::default();
    if let Some(map) = o.map_opt("fields")? {
        let mut f = OptionsMap::new("fields", map);
        fields.instruction = f.string_or("instruction", &fields.instruction)?;
        fields.input = f.string_or("input", &fields.input)?;
        fields.output = f.string_or("output", &fields.output)?;
        f.finish()?;
    }
    o.finish()?;
    if !path.starts_with("builtin:") {
        ctx.access.read(path)?;
    }
    Ok(source::load(path, &fields)?)
}

fn from_array(list: Array) -> ScriptResult<Dataset> {
    let records = list.iter().enumerate().map(|(i, item)| record(i, item)).collect::<Result<Vec<_>>>()?;
    Ok(Dataset::new("records", records))
}

fn record(i: usize, item: &Dynamic) -> Result<Record> {
    let Some(map) = item.read_lock::<Map>() else {
        return Err(Error::config(format!("record {i} must be a map, not {}", item.type_name())));
    };
    let text = |key: &str| match map.get(key) {
        None => Ok(None),
        Some(v) => v
            .clone()
            .into_string()
            .map(Some)
            .map_err(|t| Error::config(format!("record {i}: `{key}` must be a string, not {t}"))),
    };
    let need = |key: &str| text(key)?.ok_or_else(|| Error::config(format!("record {i} has no `{key}`")));
    let mut record = Record::new(need("instruction")?, text("input")?.unwrap_or_default(), need("output")?);
    record.index = i;
    Ok(record)
}

fn to_map(record: &Record) -> Map {
    let mut map = Map::from([
        ("instruction".into(), record.instruction.clone().into()),
        ("input".into(), record.input.clone().into()),
        ("output".into(), record.output.clone().into()),
        ("index".into(), (record.index as INT).into()),
    ]);
    map.extend(record.extra.iter().map(|(k, v)| (k.as_str().into(), v.clone().into())));
    map
}

/// The methods that records and examples share.
macro_rules! subset_methods {
    ($engine:expr, $type:ty, $name:literal, $get:expr, $wrap:expr) => {{
        let engine: &mut Engine = $engine;
        engine.register_get("len", |d: &mut $type| $get(d).len() as INT);
        function("split", [concat!("data: ", $name), "fraction: float", "Map"])
            .register_into_engine(engine, |d: &mut $type, fraction: FLOAT| -> ScriptResult<Map> {
                Ok(split($get(d), fraction, Map::new(), $wrap)?)
            });
        function("split", [concat!("data: ", $name), "fraction: float", "options: Map", "Map"]).register_into_engine(
            engine,
            |d: &mut $type, fraction: FLOAT, options: Map| -> ScriptResult<Map> {
                Ok(split($get(d), fraction, options, $wrap)?)
            },
        );
        function("shuffle", [concat!("data: ", $name), "seed: int", $name])
            .register_into_engine(engine, |d: &mut $type, seed: INT| $wrap($get(d).shuffle(seed as u64)));
        function("take", [concat!("data: ", $name), "n: int", $name])
            .register_into_engine(engine, |d: &mut $type, n: INT| -> ScriptResult<$type> {
                Ok($wrap($get(d).take(count("take: n", n)?)))
            });
    }};
}

fn split<T: Subset, S: rhai::Variant + Clone>(
    data: &T,
    fraction: FLOAT,
    options: Map,
    wrap: impl Fn(T) -> S,
) -> Result<Map> {
    let mut o = OptionsMap::new("split", options);
    let seed = o.int_or("seed", 0)?;
    o.finish()?;
    let (train, val) = data.split(fraction, seed as u64)?;
    Ok(Map::from([("train".into(), Dynamic::from(wrap(train))), ("val".into(), Dynamic::from(wrap(val)))]))
}

fn records(engine: &mut Engine) {
    fn inner(d: &mut Dataset) -> &Dataset {
        d
    }
    subset_methods!(engine, Dataset, "Records", inner, |d: Dataset| d);
    engine
        .register_indexer_get(|d: &mut Dataset, i: INT| -> ScriptResult<Map> {
            Ok(to_map(&d.records()[index(i, d.records().len())?]))
        })
        .register_get("source", |d: &mut Dataset| d.source.to_string())
        .register_fn("to_string", |d: &mut Dataset| format!("Records({}, {} records)", d.source, d.len()));
    function("to_array", ["data: Records", "Array"]).register_into_engine(engine, |d: &mut Dataset| -> Array {
        d.records().iter().map(|r| Dynamic::from_map(to_map(r))).collect()
    });
    function("filter", ["data: Records", "f: Fn(Map) -> bool", "Records"]).register_into_engine(
        engine,
        |ctx: NativeCallContext, d: &mut Dataset, f: FnPtr| -> ScriptResult<Dataset> {
            let mut keep = Vec::new();
            for (i, r) in d.records().iter().enumerate() {
                if f.call_within_context::<bool>(&ctx, (to_map(r),))? {
                    keep.push(i);
                }
            }
            Ok(d.pick(&keep)?)
        },
    );
    function("map", ["data: Records", "f: Fn(Map) -> Map", "Records"]).register_into_engine(
        engine,
        |ctx: NativeCallContext, d: &mut Dataset, f: FnPtr| -> ScriptResult<Dataset> {
            let mut out = Vec::with_capacity(d.records().len());
            for r in d.records() {
                let new: Dynamic = f.call_within_context(&ctx, (to_map(r),))?;
                let mut new = record(r.index, &new)?;
                new.index = r.index;
                out.push(new);
            }
            Ok(Dataset::new(d.source.clone(), out))
        },
    );
    function("tokenize", ["data: Records", "tokenizer: Tokenizer", "Examples"])
        .register_into_engine(engine, |d: &mut Dataset, t: Tokenizer| tokenized(d, t, Map::new()));
    function("tokenize", ["data: Records", "tokenizer: Tokenizer", "options: Map", "Examples"])
        .register_into_engine(engine, tokenized);
    function("prompt", ["record: Map", "template: string or Map", "string"]).register_into_engine(
        engine,
        |item: Map, t: Dynamic| -> ScriptResult<String> {
            let (template, record) = (template(&t)?, record(0, &Dynamic::from_map(item))?);
            template.check(&record)?;
            Ok(template.prompt(&record))
        },
    );
}

fn template(value: &Dynamic) -> Result<Template> {
    if let Some(name) = value.read_lock::<rhai::ImmutableString>() {
        return if name.contains('{') { Template::single(&name) } else { Template::named(&name) };
    }
    let Some(map) = value.read_lock::<Map>() else {
        return Err(Error::config(format!("a template must be a string or a map, not {}", value.type_name())));
    };
    let mut o = OptionsMap::new("template", map.clone());
    let (with, without) = (o.string("with_input")?, o.string("without_input")?);
    o.finish()?;
    Template::new(&with, &without)
}

fn tokenized(data: &mut Dataset, tokenizer: Tokenizer, options: Map) -> ScriptResult<Examples> {
    let mut o = OptionsMap::new("tokenize", options);
    let default = TokenizeOptions::default();
    let options = TokenizeOptions {
        template: o.value_opt("template").map_or(Ok(default.template), |t| template(&t))?,
        max_seq_len: o.usize_or("max_seq_len", default.max_seq_len)?,
        mask_prompt: o.bool_or("mask_prompt", default.mask_prompt)?,
        eos: o.bool_or("eos", default.eos)?,
    };
    o.finish()?;
    Ok(Examples(tokenize(data, Arc::new(tokenizer), &options)?))
}

fn examples(engine: &mut Engine) {
    fn inner(e: &mut Examples) -> &Tokenized {
        &e.0
    }
    subset_methods!(engine, Examples, "Examples", inner, Examples);
    let text = |e: &mut Examples| format!("Examples({})", e.0.stats());
    engine.register_fn("to_string", text);
    engine.register_indexer_get(|e: &mut Examples, i: INT| -> ScriptResult<Map> {
        let example = &e.0.examples()[index(i, e.0.examples().len())?];
        let ids = example.ids.iter().map(|id| Dynamic::from(INT::from(*id))).collect::<Array>();
        let labels = example.labels.iter().map(|l| Dynamic::from(*l)).collect::<Array>();
        Ok(Map::from([
            ("ids".into(), ids.into()),
            ("labels".into(), labels.into()),
            ("index".into(), (example.source as INT).into()),
        ]))
    });
    function("stats", ["data: Examples", "Map"])
        .register_into_engine(engine, |e: &mut Examples| -> ScriptResult<Dynamic> {
            rhai::serde::to_dynamic(e.0.stats())
        });
    function("show", ["data: Examples", "i: int", "string"]).register_into_engine(
        engine,
        |e: &mut Examples, i: INT| -> ScriptResult<String> {
            let parts = e.0.show(index(i, e.0.examples().len())?)?;
            let mark = |(text, trained): (String, bool)| if trained { format!("⟦{text}⟧") } else { text };
            Ok(parts.into_iter().map(mark).collect())
        },
    );
    function("batches", ["data: Examples", "Windows"])
        .register_into_engine(engine, |e: &mut Examples| windows(e, Map::new()));
    function("batches", ["data: Examples", "options: Map", "Windows"]).register_into_engine(engine, windows);
}

fn windows(examples: &mut Examples, options: Map) -> ScriptResult<BatchWindows> {
    let mut o = OptionsMap::new("batches", options);
    let default = LoaderOptions::default();
    let seed = o.int_or("seed", rng::state().seed as INT)?;
    let options = LoaderOptions {
        size: o.usize_or("size", 1usize)?,
        accumulate: o.usize_or("accumulate", 1usize)?,
        shuffle: o.bool_or("shuffle", true)?,
        seed: seed as u64,
        epoch: o.usize_or("epoch", 0usize)? as u64,
        skip: o.usize_or("skip", 0usize)?,
        drop_last: o.bool_or("drop_last", false)?,
        pad_to_multiple: o.usize_or("pad_to_multiple", 1usize)?,
        group_by_length: o.bool_or("group_by_length", false)?,
        weighting: o.string_opt("weighting")?.map_or(Ok(default.weighting), |n| Weighting::named(&n))?,
    };
    o.finish()?;
    let windows = Windows::new(&examples.0, options.clone())?;
    Ok(BatchWindows { data: examples.0.clone(), len: windows.total(), options })
}

fn batches(engine: &mut Engine) {
    // `len` counts the whole epoch's windows, skipped ones included: what a schedule needs.
    engine.register_get("len", |w: &mut BatchWindows| w.len as INT);
    engine
        .register_get("weight", |b: &mut Batch| b.0.weight)
        .register_get("tokens", |b: &mut Batch| b.0.tokens as INT)
        .register_get("label_tokens", |b: &mut Batch| b.0.label_tokens as INT)
        .register_get("size", |b: &mut Batch| b.0.rows as INT)
        .register_get("lengths", |b: &mut Batch| -> Array {
            b.0.lengths.iter().map(|n| Dynamic::from(*n as INT)).collect()
        })
        .register_get("indices", |b: &mut Batch| -> Array {
            b.0.indices.iter().map(|n| Dynamic::from(*n as INT)).collect()
        })
        .register_get("input_ids", |b: &mut Batch| -> ScriptResult<Tensor> {
            Ok(Tensor::new(b.0.input_tensor(&candle_core::Device::Cpu)?))
        })
        .register_get("labels", |b: &mut Batch| -> ScriptResult<Tensor> {
            Ok(Tensor::new(b.0.labels_tensor(&candle_core::Device::Cpu)?))
        })
        .register_get("attention_mask", |b: &mut Batch| -> ScriptResult<Tensor> {
            Ok(Tensor::new(b.0.mask_tensor(&candle_core::Device::Cpu)?))
        });
    let text = |b: &mut Batch| {
        format!(
            "Batch([{}, {}], {} tokens, {} labels, weight {:.4})",
            b.0.rows, b.0.width, b.0.tokens, b.0.label_tokens, b.0.weight
        )
    };
    engine.register_fn("to_string", text);
}
