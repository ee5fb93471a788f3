//! `llama::`: making models. What a model can do is in `model`.

use super::error::placed;
use super::registration::function;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::error::{Error, unknown_name};
use crate::engine::hub::{self, Located};
use crate::engine::llama::init::{Init, WeightDtype};
use crate::engine::llama::{Llama, LlamaConfig};
use crate::engine::progress::Unit;
use crate::engine::{Result, device};
use candle_core::{DType, Device};
use rhai::{Dynamic, Engine, Map, Module, NativeCallContext};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A model as scripts hold it: shared, so that passing it around copies nothing.
#[derive(Debug, Clone)]
pub struct Model(Arc<RwLock<Llama>>);

impl Model {
    pub(super) fn new(model: Llama) -> Self {
        Model(Arc::new(RwLock::new(model)))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Llama> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Llama> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The weights' dtype called `name`.
pub(super) fn float_dtype(name: &str) -> Result<DType> {
    match name {
        "f64" => Ok(DType::F64),
        "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        "f16" => Ok(DType::F16),
        "auto" => Err(Error::config_help(
            "dtype \"auto\" is how a file has its weights, so that only llama::load knows it",
            "name one: \"f32\", \"bf16\", \"f16\" or \"f64\"",
        )),
        _ => Err(unknown_name("dtype of weights", name, ["f64", "f32", "bf16", "f16"])),
    }
}

/// What `llama::load` is told to keep weights in.
fn weight_dtype(name: &str) -> Result<WeightDtype> {
    if name == "auto" {
        return Ok(WeightDtype::Auto);
    }
    float_dtype(name).map(WeightDtype::Float).map_err(|e| match name.starts_with(['q', 'Q', 'i', 'I']) {
        true => Error::config_help(
            format!("weights are not quantized when they are loaded: `{name}` is no dtype of weights"),
            "dtype: \"auto\" keeps those of a quantized GGUF file as they are stored",
        ),
        false => e,
    })
}

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<Model>("Model");
    let mut module = Module::new();
    let c = ctx.clone();
    function("load", ["source: string", "Model"])
        .set_into_module(&mut module, move |at: NativeCallContext, source: &str| {
            placed(&at, load(&c, source, Map::new()))
        });
    let c = ctx.clone();
    function("load", ["source: string", "options: Map", "Model"])
        .set_into_module(&mut module, move |at: NativeCallContext, source: &str, options: Map| {
            placed(&at, load(&c, source, options))
        });
    let c = ctx.clone();
    function("from_config", ["config: Map or string", "Model"])
        .set_into_module(&mut module, move |at: NativeCallContext, config: Dynamic| {
            placed(&at, from_config(&c, &config, Map::new()))
        });
    let c = ctx.clone();
    function("from_config", ["config: Map or string", "options: Map", "Model"])
        .set_into_module(&mut module, move |at: NativeCallContext, config: Dynamic, options: Map| {
            placed(&at, from_config(&c, &config, options))
        });
    engine.register_static_module("llama", module.into());
}

fn placement(ctx: &Context, options: &mut OptionsMap) -> Result<Device> {
    match options.string_opt("device")? {
        Some(name) => device::parse(&name),
        None => Ok(ctx.device.clone()),
    }
}

fn load(ctx: &Context, source: &str, options: Map) -> ScriptResult<Model> {
    let mut options = OptionsMap::new("llama::load", options);
    let dtype = weight_dtype(&options.string_or("dtype", "f32")?)?;
    let device = placement(ctx, &mut options)?;
    options.finish()?;
    let located = located(ctx, source)?;
    if !source.starts_with("builtin:") {
        ctx.access.read_model(&located.path)?;
    }
    let mut bar = None;
    let mut model = Llama::load(&located.path.to_string_lossy(), dtype, &device, &mut |done, total| {
        let bar = bar.get_or_insert_with(|| ctx.output.start(total as u64, "loading", Unit::Items));
        bar.update(done as u64, &[]);
    })?;
    if let Some(bar) = bar {
        bar.finish();
    }
    if let Some(repo) = located.repo {
        model.name = repo;
    }
    Ok(Model::new(model))
}

/// Where the model or adapter `source` is, downloaded if it is a hub's and the script may.
pub(super) fn located(ctx: &Context, source: &str) -> Result<Located> {
    hub::locate(source, |what| ctx.access.net(what), &*ctx.output)
}

fn from_config(ctx: &Context, config: &Dynamic, options: Map) -> ScriptResult<Model> {
    let mut options = OptionsMap::new("llama::from_config", options);
    let dtype = float_dtype(&options.string_or("dtype", "f32")?)?;
    let device = placement(ctx, &mut options)?;
    let init = match options.string_or("init", "random")?.as_str() {
        "random" => Init::Random,
        "shapes" => Init::Shapes,
        other => return Err(unknown_name("init", other, ["random", "shapes"]).into()),
    };
    options.finish()?;
    let (config, name) = if let Some(name) = config.read_lock::<rhai::ImmutableString>() {
        (LlamaConfig::preset(&name)?, name.to_string())
    } else if config.is_map() {
        let json: serde_json::Value = rhai::serde::from_dynamic(config)?;
        (LlamaConfig::from_options(&json)?, "custom".to_string())
    } else {
        let given = config.type_name();
        return Err(Error::config(format!("llama::from_config: config must be a map or a name, not {given}")).into());
    };
    let mut model = Llama::from_config(config, init, dtype, &device)?;
    model.name = name;
    Ok(Model::new(model))
}
