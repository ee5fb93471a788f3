//! What scripts do with a model: look at it, freeze, adapt, run, train, save.

use super::batches::packing;
use super::data::{Batch, Examples};
use super::ids::token_ids;
use super::llama::Model;
use super::registration::{function, getter};
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::error::Error;
use crate::engine::lora::{LoraConfig, Targets};
use crate::engine::{Result, device, pause};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    properties(engine);
    parameters(engine);
    adapters(engine, ctx);
    running(engine);
    engine.register_fn("to_string", |m: &mut Model| summary(m));
}

fn summary(model: &Model) -> String {
    let m = model.read();
    let adapter = match &m.lora {
        Some(l) => format!(", LoRA rank {} on {}", l.rank, l.targets.names().join(", ")),
        None => String::new(),
    };
    format!(
        "Model({}: {} blocks, hidden {}, vocab {}, {} parameters, {} trainable, {} on {}{adapter})",
        m.name,
        m.config.num_hidden_layers,
        m.config.hidden_size,
        m.config.vocab_size,
        m.num_params(),
        m.num_trainable(),
        m.dtype_name(),
        device::name(&m.device),
    )
}

fn properties(engine: &mut Engine) {
    getter("config", "Model", "Map").register_into_engine(engine, |m: &mut Model| -> ScriptResult<Dynamic> {
        rhai::serde::to_dynamic(m.read().config.to_hf_json())
    });
    engine
        .register_get("name", |m: &mut Model| m.read().name.clone())
        .register_get("params", |m: &mut Model| m.read().num_params() as INT)
        .register_get("trainable_params", |m: &mut Model| m.read().num_trainable() as INT)
        .register_get("adapter_params", |m: &mut Model| {
            m.read().adapter_parameters().iter().map(|(_, p)| p.len()).sum::<usize>() as INT
        })
        .register_get("dtype", |m: &mut Model| m.read().dtype_name().to_string())
        .register_get("device", |m: &mut Model| device::name(&m.read().device))
        .register_get("training", |m: &mut Model| m.read().training)
        .register_set("training", |m: &mut Model, on: bool| m.write().training = on)
        .register_get("tokenizer", |m: &mut Model| -> ScriptResult<crate::engine::tokenizer::Tokenizer> {
            Ok(m.read().tokenizer()?.clone())
        })
        .register_set("tokenizer", |m: &mut Model, t: crate::engine::tokenizer::Tokenizer| -> ScriptResult<()> {
            Ok(m.write().set_tokenizer(t)?)
        })
        .register_get("weight_mib", |m: &mut Model| {
            m.read().parameters().iter().map(|(_, p)| p.bytes()).sum::<usize>() as FLOAT / (1 << 20) as FLOAT
        });
}

fn parameters(engine: &mut Engine) {
    function("modules", ["model: Model", "Array"]).register_into_engine(engine, |m: &mut Model| -> Array {
        m.read().linears().into_iter().map(|(n, _)| n.into()).collect()
    });
    function("parameters", ["model: Model", "Array"]).register_into_engine(engine, |m: &mut Model| -> Array {
        let row = |(name, p): (String, crate::engine::param::Param)| {
            Dynamic::from_map(Map::from([
                ("name".into(), name.into()),
                ("shape".into(), p.dims().iter().map(|d| Dynamic::from(*d as INT)).collect::<Array>().into()),
                ("dtype".into(), p.dtype_name().to_string().into()),
                ("requires_grad".into(), p.requires_grad().into()),
            ]))
        };
        m.read().parameters().into_iter().map(row).collect()
    });
    function("parameter", ["model: Model", "name: string", "Tensor"])
        .register_into_engine(engine, |m: &mut Model, name: &str| -> ScriptResult<Tensor> { Ok(parameter(m, name)?) });
    function("freeze", ["model: Model", "()"])
        .register_into_engine(engine, |m: &mut Model| -> ScriptResult<()> { Ok(m.read().freeze()?) });
    function("unfreeze", ["model: Model", "pattern: string", "int"])
        .register_into_engine(engine, |m: &mut Model, pattern: &str| -> ScriptResult<INT> {
            Ok(m.read().unfreeze(pattern)? as INT)
        });
    function("state", ["model: Model", "Map"]).register_into_engine(engine, |m: &mut Model| state(m, Map::new()));
    function("state", ["model: Model", "options: Map", "Map"]).register_into_engine(engine, state);
    function("load_state", ["model: Model", "state: Map", "int"])
        .register_into_engine(engine, |m: &mut Model, state: Map| -> ScriptResult<INT> { Ok(load_state(m, state)?) });
    function("trainable", ["model: Model", "Parameters"]).register_into_engine(
        engine,
        |m: &mut Model| -> ScriptResult<Dynamic> {
            Ok(Dynamic::from(super::optim::Parameters::from(m.read().trainable()?)))
        },
    );
}

pub(super) fn parameter(model: &Model, name: &str) -> Result<Tensor> {
    let all = model.read().parameters();
    match all.iter().find(|(n, _)| n == name) {
        Some((_, p)) => Ok(p.tensor()?.clone()),
        None => Err(crate::engine::error::unknown_name("parameter", name, all.iter().map(|(n, _)| n.as_str()))),
    }
}

fn state(model: &mut Model, options: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("state", options);
    let all = o.bool_or("all", false)?;
    o.finish()?;
    let state = model.read().state(all)?;
    Ok(state.into_iter().map(|(name, value)| (name.into(), Dynamic::from(Tensor::new(value)))).collect())
}

fn load_state(model: &Model, state: Map) -> Result<INT> {
    let value = |(name, value): (rhai::Identifier, Dynamic)| match value.read_lock::<Tensor>() {
        Some(t) => Ok((name.to_string(), t.value().clone())),
        None => Err(Error::config(format!("load_state: `{name}` must be a Tensor, not {}", value.type_name()))),
    };
    let state = state.into_iter().map(value).collect::<Result<Vec<_>>>()?;
    Ok(model.read().load_state(&state)? as INT)
}

fn adapters(engine: &mut Engine, ctx: &Context) {
    function("inject_lora", ["model: Model", "int"])
        .register_into_engine(engine, |m: &mut Model| inject(m, Map::new()));
    function("inject_lora", ["model: Model", "options: Map", "int"]).register_into_engine(engine, inject);
    let c = ctx.clone();
    function("save_adapter", ["model: Model", "dir: string", "()"])
        .register_into_engine(engine, move |m: &mut Model, dir: &str| -> ScriptResult<()> {
            Ok(m.read().save_adapter(&c.access.write(dir)?)?)
        });
    let c = ctx.clone();
    function("load_adapter", ["model: Model", "dir: string", "int"]).register_into_engine(
        engine,
        move |m: &mut Model, dir: &str| -> ScriptResult<INT> {
            let located = super::llama::located(&c, dir)?;
            Ok(m.write().load_adapter(&c.access.read(located.path)?)? as INT)
        },
    );
    function("merge_adapter", ["model: Model", "()"])
        .register_into_engine(engine, |m: &mut Model| -> ScriptResult<()> { Ok(m.write().merge_adapter()?) });
    function("remove_adapter", ["model: Model", "()"])
        .register_into_engine(engine, |m: &mut Model| m.write().remove_adapter());
    let c = ctx.clone();
    function("save", ["model: Model", "dir: string", "()"])
        .register_into_engine(engine, move |m: &mut Model, dir: &str| -> ScriptResult<()> {
            Ok(m.read().save(&c.access.write(dir)?)?)
        });
}

fn inject(model: &mut Model, options: Map) -> ScriptResult<INT> {
    let mut o = OptionsMap::new("inject_lora", options);
    let default = LoraConfig::default();
    let targets = match o.strings_opt("target_modules")? {
        Some(names) if names.len() == 1 && names[0] == "all-linear" => Targets::AllLinear,
        Some(names) => Targets::Names(names),
        None => default.targets,
    };
    let config = LoraConfig {
        rank: o.usize_or("rank", default.rank)?,
        alpha: o.float_or("alpha", default.alpha)?,
        dropout: o.float_or("dropout", default.dropout)?,
        rslora: o.bool_or("rslora", default.rslora)?,
        targets,
    };
    o.finish()?;
    Ok(model.write().inject_lora(config)? as INT)
}

fn checkpoint_every(m: &Model, k: INT, options: Map) -> ScriptResult<()> {
    let wrong = |_| Error::config(format!("checkpoint_every: k must be 0 or more, not {k}"));
    let every = usize::try_from(k).map_err(wrong)?;
    let mut o = OptionsMap::new("checkpoint_every", options);
    let budget = super::plan::activation_budget(&mut o)?.unwrap_or(0);
    o.finish()?;
    let mut model = m.write();
    (model.checkpoint_every, model.activation_budget) = (every, budget);
    Ok(())
}

fn running(engine: &mut Engine) {
    function("checkpoint_every", ["model: Model", "k: int", "()"])
        .register_into_engine(engine, |m: &mut Model, k: INT| checkpoint_every(m, k, Map::new()));
    function("checkpoint_every", ["model: Model", "k: int", "options: Map", "()"])
        .register_into_engine(engine, |m: &mut Model, k: INT, options: Map| checkpoint_every(m, k, options));
    function("forward", ["model: Model", "ids: Tensor", "Tensor"])
        .register_into_engine(engine, |m: &mut Model, ids: Tensor| -> ScriptResult<Tensor> {
            Ok(m.read().forward(ids.value(), None)?)
        });
    function("forward", ["model: Model", "ids: Array", "Tensor"]).register_into_engine(
        engine,
        |m: &mut Model, ids: Array| -> ScriptResult<Tensor> {
            let ids = token_ids(&ids)?;
            let ids =
                candle_core::Tensor::from_vec(ids.clone(), (1, ids.len()), &m.read().device).map_err(Error::from)?;
            Ok(m.read().forward(&ids, None)?)
        },
    );
    function("loss", ["model: Model", "batch: Batch", "Tensor"]).register_into_engine(
        engine,
        |m: &mut Model, batch: Batch| -> ScriptResult<Tensor> {
            let m = m.read();
            let ids = batch.0.input_tensor(&m.device)?;
            let loss = m.loss(&ids, &batch.0.labels, Some(&batch.0.documents))?.mean;
            pause::loss("the loss", || loss.item().unwrap_or(FLOAT::NAN));
            Ok(loss)
        },
    );
    function("evaluate", ["model: Model", "data: Examples", "Map"])
        .register_into_engine(engine, |m: &mut Model, data: Examples| evaluate(m, data, Map::new()));
    function("evaluate", ["model: Model", "data: Examples", "options: Map", "Map"])
        .register_into_engine(engine, evaluate);
    function("token_losses", ["model: Model", "batch: Batch", "Array"]).register_into_engine(
        engine,
        |m: &mut Model, batch: Batch| -> ScriptResult<Array> {
            let mut m = m.write();
            let ids = batch.0.input_tensor(&m.device)?;
            let loss = m.inference(|m| m.loss(&ids, &batch.0.labels, Some(&batch.0.documents)))?;
            Ok(loss.each.into_iter().map(Dynamic::from).collect())
        },
    );
}

fn evaluate(model: &mut Model, data: Examples, options: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("evaluate", options);
    let limits = super::generate::limits(&mut o)?;
    let pack = packing(&mut o, data.0.max_seq_len())?;
    o.finish()?;
    let mean = model.write().set_loss(&data.0, limits, pack)?;
    let number = |x: Option<f64>| Dynamic::from(x.unwrap_or(FLOAT::NAN));
    Ok(Map::from([
        ("loss".into(), number(mean.mean())),
        ("perplexity".into(), number(mean.perplexity())),
        ("tokens".into(), (mean.tokens() as INT).into()),
    ]))
}
