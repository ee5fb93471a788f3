//! From examples to batches in scripts: `data.batches(..)`, its windows, and what a batch tells of itself.

use super::data::Examples;
use super::registration::function;
use super::streams::no_length;
use super::{OptionsMap, ScriptResult};
use crate::engine::Result;
use crate::engine::autograd::Tensor;
use crate::engine::data::batch;
use crate::engine::data::loader::{LoaderOptions, Weighting, Windows};
use crate::engine::data::stream::Stream;
use crate::engine::{error::Error, rng};
use candle_core::Device::Cpu;
use rhai::{Array, Dynamic, Engine, INT, Map};
use std::sync::Arc;

/// One padded micro-batch.
#[derive(Debug, Clone)]
pub struct Batch(pub(super) Arc<batch::Batch>);

/// The optimizer windows of one epoch: what `for window in data.batches(..)` walks over.
#[derive(Debug, Clone)]
pub struct BatchWindows(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Set(Windows),
    Stream { stream: Stream, options: LoaderOptions, buffer: usize },
}

impl BatchWindows {
    pub(super) fn of_stream(stream: Stream, options: LoaderOptions, buffer: usize) -> Self {
        BatchWindows(Kind::Stream { stream, options, buffer })
    }

    /// The windows of a set that is in memory.
    pub(super) fn known(&self) -> Result<&Windows> {
        match &self.0 {
            Kind::Set(windows) => Ok(windows),
            Kind::Stream { .. } => Err(no_length()),
        }
    }
}

impl IntoIterator for BatchWindows {
    type Item = ScriptResult<Array>;
    type IntoIter = Box<dyn Iterator<Item = ScriptResult<Array>>>;

    fn into_iter(self) -> Self::IntoIter {
        let batch = |b| Dynamic::from(Batch(Arc::new(b)));
        let window = move |w: Vec<batch::Batch>| w.into_iter().map(batch).collect::<Array>();
        match self.0 {
            Kind::Set(windows) => Box::new(windows.map(move |w| Ok(window(w)))),
            Kind::Stream { stream, options, buffer } => match stream.windows(options, buffer) {
                Ok(windows) => Box::new(windows.map(move |w| Ok(window(w?)))),
                Err(e) => Box::new(std::iter::once(Err(e.into()))),
            },
        }
    }
}

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<BatchWindows>("Windows")
        .register_type_with_name::<Batch>("Batch")
        .register_iterator_result::<BatchWindows, Array>();
    function("batches", ["data: Examples", "Windows"])
        .register_into_engine(engine, |e: &mut Examples| windows(e, Map::new()));
    function("batches", ["data: Examples", "options: Map", "Windows"]).register_into_engine(engine, windows);
    // `len` counts the whole epoch's windows, skipped ones included: what a schedule needs.
    engine.register_get("len", |w: &mut BatchWindows| -> ScriptResult<INT> { Ok(w.known()?.total() as INT) });
    function("stats", ["windows: Windows", "Map"])
        .register_into_engine(engine, |w: &mut BatchWindows| -> ScriptResult<Dynamic> {
            rhai::serde::to_dynamic(w.known()?.usage())
        });
    batches(engine);
}

fn windows(examples: &mut Examples, options: Map) -> ScriptResult<BatchWindows> {
    let mut o = OptionsMap::new("batches", options);
    let options = loader_options(&mut o, examples.0.max_seq_len())?;
    o.finish()?;
    Ok(BatchWindows(Kind::Set(Windows::new(&examples.0, options)?)))
}

/// The options of `batches`; `max_seq_len` is how long a packed row is unless they say.
pub(super) fn loader_options(o: &mut OptionsMap, max_seq_len: usize) -> Result<LoaderOptions> {
    let default = LoaderOptions::default();
    let seed = o.int_or("seed", rng::state().seed as INT)?;
    let (max_tokens, pack) = (o.usize_opt("max_tokens")?, packing(o, max_seq_len)?);
    Ok(LoaderOptions {
        size: o.usize_or("size", if max_tokens.is_some() { usize::MAX } else { default.size })?,
        max_tokens,
        pack,
        accumulate: o.usize_or("accumulate", 1usize)?,
        shuffle: o.bool_or("shuffle", true)?,
        seed: seed as u64,
        epoch: o.usize_or("epoch", 0usize)? as u64,
        skip: o.usize_or("skip", 0usize)?,
        drop_last: o.bool_or("drop_last", false)?,
        pad_to_multiple: o.usize_or("pad_to_multiple", 1usize)?,
        group_by_length: o.bool_or("group_by_length", false)?,
        weighting: o.string_opt("weighting")?.map_or(Ok(default.weighting), |n| Weighting::named(&n))?,
    })
}

/// The options `pack` and `pack_len`: tokens of a row, unless examples have rows of their own.
pub(super) fn packing(o: &mut OptionsMap, max_seq_len: usize) -> Result<Option<usize>> {
    match (o.bool_or("pack", false)?, o.usize_opt("pack_len")?) {
        (true, length) => Ok(Some(length.unwrap_or(max_seq_len))),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Error::config("pack_len is the length of packed rows: it goes with pack: true")),
    }
}

fn ints(list: impl IntoIterator<Item = usize>) -> Array {
    list.into_iter().map(|n| Dynamic::from(n as INT)).collect()
}

fn batches(engine: &mut Engine) {
    engine
        .register_get("weight", |b: &mut Batch| b.0.weight)
        .register_get("tokens", |b: &mut Batch| b.0.tokens as INT)
        .register_get("label_tokens", |b: &mut Batch| b.0.label_tokens as INT)
        .register_get("size", |b: &mut Batch| b.0.rows as INT)
        .register_get("documents", |b: &mut Batch| b.0.documents.count() as INT)
        .register_get("useful_share", |b: &mut Batch| b.0.useful_share())
        .register_get("lengths", |b: &mut Batch| ints(b.0.lengths.iter().copied()))
        .register_get("document_lengths", |b: &mut Batch| -> Array {
            (0..b.0.rows).map(|row| ints(b.0.documents.of_row(row).map(|d| d.len())).into()).collect()
        })
        .register_get("indices", |b: &mut Batch| ints(b.0.indices.iter().copied()))
        .register_get("input_ids", |b: &mut Batch| -> ScriptResult<Tensor> { Ok(Tensor::new(b.0.input_tensor(&Cpu)?)) })
        .register_get("labels", |b: &mut Batch| -> ScriptResult<Tensor> { Ok(Tensor::new(b.0.labels_tensor(&Cpu)?)) })
        .register_get("attention_mask", |b: &mut Batch| -> ScriptResult<Tensor> {
            Ok(Tensor::new(b.0.mask_tensor(&Cpu)?))
        });
    let text = |b: &mut Batch| {
        let b = &b.0;
        let packed =
            if b.documents.is_packed() { format!("{} documents, ", b.documents.count()) } else { String::new() };
        format!(
            "Batch([{}, {}], {packed}{} tokens, {} labels, weight {:.4})",
            b.rows, b.width, b.tokens, b.label_tokens, b.weight
        )
    };
    engine.register_fn("to_string", text);
}
