//! What a training step takes: `measure_step(model, optimizer, batch)`.

use super::data::Batch;
use super::llama::Model;
use super::optim::Optim;
use super::options_map::type_name;
use super::registration::function;
use super::{OptionsMap, ScriptResult};
use crate::engine::autograd::Autocast;
use crate::engine::error::Error;
use crate::engine::plan::{Measured, Phases, Split, StepOptions, measure_step};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn register(engine: &mut Engine) {
    function("measure_step", ["model: Model", "optimizer: Optimizer", "batch: Batch or Array", "Map"])
        .register_into_engine(engine, |m: &mut Model, o: Optim, window: Dynamic| measure(m, &o, &window, Map::new()));
    function("measure_step", ["model: Model", "optimizer: Optimizer", "batch: Batch or Array", "options: Map", "Map"])
        .register_into_engine(engine, |m: &mut Model, o: Optim, window: Dynamic, options: Map| {
            measure(m, &o, &window, options)
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
    };
    o.finish()?;
    let window = batches(window)?;
    let window: Vec<_> = window.iter().map(|b| &*b.0).collect();
    let measured = measure_step(&model.read(), &mut *optimizer.lock(), &window, &options)?;
    Ok(measured_map(&measured))
}

/// One batch, or the batches of a window.
fn batches(value: &Dynamic) -> Result<Vec<Batch>, Error> {
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

fn measured_map(measured: &Measured) -> Map {
    Map::from([
        ("peak_mib".into(), mib(measured.peak)),
        ("split".into(), split_map(&measured.split)),
        ("phases".into(), phases_map(&measured.phases)),
        ("other_mib".into(), mib(measured.other)),
        ("seconds".into(), measured.seconds.into()),
        ("tokens".into(), (measured.tokens as INT).into()),
        ("tokens_per_s".into(), (measured.tokens as FLOAT / measured.seconds).into()),
        ("loss".into(), measured.loss.into()),
    ])
}

fn mib(bytes: usize) -> Dynamic {
    (bytes as FLOAT / MIB).into()
}

fn split_map(split: &Split) -> Dynamic {
    Dynamic::from_map(split.parts().into_iter().map(|(name, bytes)| (name.into(), mib(bytes))).collect())
}

fn phases_map(phases: &Phases) -> Dynamic {
    Dynamic::from_map(Map::from([
        ("forward".into(), mib(phases.forward)),
        ("backward".into(), mib(phases.backward)),
        ("update".into(), mib(phases.update)),
    ]))
}
