//! `data::`: tokenized examples, batches, scores of answers; records are in [`super::records`].

use super::registration::function;
use super::subset::{index, subset_methods};
use super::{Context, OptionsMap, ScriptResult, records, tokenize};
use crate::engine::autograd::Tensor;
use crate::engine::data::loader::{LoaderOptions, Weighting, Windows};
use crate::engine::data::split::Subset;
use crate::engine::data::tokenize::Tokenized;
use crate::engine::data::{batch, metrics, view};
use crate::engine::rng;
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map, Module};
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
        .register_type_with_name::<Examples>("Examples")
        .register_type_with_name::<BatchWindows>("Windows")
        .register_type_with_name::<Batch>("Batch")
        .register_iterator::<BatchWindows>();
    let mut module = Module::new();
    records::loading(&mut module, ctx);
    scores(&mut module);
    engine.register_static_module("data", module.into());
    records::register(engine);
    tokenize::register(engine, ctx);
    examples(engine, ctx);
    batches(engine);
}

fn scores(module: &mut Module) {
    function("rouge_l", ["answer: string", "reference: string", "float"])
        .set_into_module(module, |a: &str, r: &str| metrics::rouge_l(a, r).f1);
    function("exact_match", ["answer: string", "reference: string", "bool"])
        .set_into_module(module, metrics::exact_match);
}

fn examples(engine: &mut Engine, ctx: &Context) {
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
    let c = ctx.clone();
    function("show", ["data: Examples", "i: int", "string"])
        .register_into_engine(engine, move |e: &mut Examples, i: INT| show(e, i, c.output.screen().color));
    let c = ctx.clone();
    function("show", ["data: Examples", "i: int", "options: Map", "string"]).register_into_engine(
        engine,
        move |e: &mut Examples, i: INT, options: Map| -> ScriptResult<String> {
            let mut o = OptionsMap::new("show", options);
            let color = o.bool_or("color", c.output.screen().color)?;
            o.finish()?;
            show(e, i, color)
        },
    );
    function("batches", ["data: Examples", "Windows"])
        .register_into_engine(engine, |e: &mut Examples| windows(e, Map::new()));
    function("batches", ["data: Examples", "options: Map", "Windows"]).register_into_engine(engine, windows);
}

fn show(e: &mut Examples, i: INT, color: bool) -> ScriptResult<String> {
    Ok(view::marked(&e.0.show(index(i, e.0.examples().len())?)?, color))
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
