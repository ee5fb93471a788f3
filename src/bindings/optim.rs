//! `optim::`: optimizers, the gradient scaler, learning-rate schedules.

use super::error::placed;
use super::registration::function;
use super::{OptionsMap, ScriptResult};
use crate::engine::autograd::Tensor;
use crate::engine::optim::schedule::{ByHand, Schedule, ScheduleConfig};
use crate::engine::optim::{
    AdamW, AdamWConfig, GradScaler, GradScalerConfig, Optimizer, Sgd, SgdConfig, clip_grad_norm,
};
use crate::engine::{Result, error::Error, pause};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map, Module, NativeCallContext};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Named parameters: what `model.trainable()` returns and an optimizer takes.
#[derive(Debug, Clone)]
pub struct Parameters(Vec<(String, Tensor)>);

impl Parameters {
    /// Names and tensors, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(String, Tensor)> {
        self.0.iter()
    }
}

impl From<Vec<(String, Tensor)>> for Parameters {
    fn from(params: Vec<(String, Tensor)>) -> Self {
        Parameters(params)
    }
}

/// An optimizer as scripts hold it.
#[derive(Clone)]
pub struct Optim {
    optimizer: Arc<Mutex<dyn Optimizer>>,
    course: Arc<Mutex<Course>>,
}

/// What is known of an optimizer beside its own state.
#[derive(Debug, Default)]
struct Course {
    /// What a schedule set last.
    scheduled: Option<f64>,
    /// What a person set since, at a pause.
    by_hand: Option<ByHand>,
    /// A scaler found that the gradients overflowed, and will skip the step.
    overflowed: bool,
}

impl Optim {
    fn new(optimizer: impl Optimizer + 'static) -> Self {
        Optim { optimizer: Arc::new(Mutex::new(optimizer)), course: Arc::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, dyn Optimizer + 'static> {
        self.optimizer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The learning rate that a person set, for a saved run.
    pub(super) fn by_hand(&self) -> Option<ByHand> {
        self.course().by_hand
    }

    /// Puts back what [`Optim::by_hand`] gave.
    pub(super) fn set_by_hand(&self, by_hand: Option<ByHand>) {
        self.course().by_hand = by_hand;
    }

    /// A script's own rate holds until the next schedule; a person's, set at a pause, scales that schedule.
    fn set_lr(&self, lr: f64) -> Result<()> {
        self.lock().set_lr(lr)?;
        let mut course = self.course();
        if let (true, Some(scheduled)) = (pause::at_prompt(), course.scheduled) {
            course.by_hand = Some(ByHand { lr, scheduled });
        }
        Ok(())
    }

    fn follow(&self, scheduled: f64) -> Result<()> {
        let mut course = self.course();
        course.scheduled = Some(scheduled);
        let lr = course.by_hand.map_or(scheduled, |hand| hand.lr(scheduled));
        self.lock().set_lr(lr)
    }
}

/// A gradient scaler as scripts hold it.
#[derive(Debug, Clone)]
pub struct Scaler(Arc<Mutex<GradScaler>>);

impl Scaler {
    pub(super) fn lock(&self) -> MutexGuard<'_, GradScaler> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Parameters>("Parameters")
        .register_type_with_name::<Optim>("Optimizer")
        .register_type_with_name::<Scaler>("GradScaler")
        .register_type_with_name::<Schedule>("Schedule");
    let mut module = Module::new();
    constructors(&mut module);
    engine.register_static_module("optim", module.into());
    parameters(engine);
    optimizer(engine);
    scaler(engine);
    schedule(engine);
}

fn constructors(module: &mut Module) {
    function("adamw", ["params: Parameters or Array", "Optimizer"])
        .set_into_module(module, |at: NativeCallContext, params: Dynamic| placed(&at, adamw(&params, Map::new())));
    function("adamw", ["params: Parameters or Array", "options: Map", "Optimizer"])
        .set_into_module(module, |at: NativeCallContext, params: Dynamic, options: Map| {
            placed(&at, adamw(&params, options))
        });
    function("sgd", ["params: Parameters or Array", "Optimizer"])
        .set_into_module(module, |at: NativeCallContext, params: Dynamic| placed(&at, sgd(&params, Map::new())));
    function("sgd", ["params: Parameters or Array", "options: Map", "Optimizer"])
        .set_into_module(module, |at: NativeCallContext, params: Dynamic, options: Map| {
            placed(&at, sgd(&params, options))
        });
    function("grad_scaler", ["GradScaler"]).set_into_module(module, || grad_scaler(Map::new()));
    function("grad_scaler", ["options: Map", "GradScaler"])
        .set_into_module(module, |at: NativeCallContext, o: Map| placed(&at, grad_scaler(o)));
    function("schedule", ["kind: string", "options: Map", "Schedule"])
        .set_into_module(module, |at: NativeCallContext, kind: &str, o: Map| placed(&at, new_schedule(kind, o)));
}

fn params(value: &Dynamic) -> Result<Vec<(String, Tensor)>> {
    if let Some(params) = value.read_lock::<Parameters>() {
        return Ok(params.0.clone());
    }
    let Some(list) = value.read_lock::<Array>() else {
        let given = value.type_name();
        return Err(Error::config(format!("an optimizer takes model.trainable() or an array of tensors, not {given}")));
    };
    let tensor = |(i, item): (usize, &Dynamic)| match item.read_lock::<Tensor>() {
        Some(t) => Ok((format!("param.{i}"), t.clone())),
        None => Err(Error::config_help(
            format!("parameter {i} must be a tensor, not {}", super::options_map::type_name(item)),
            "what an optimizer takes is `model.trainable()`",
        )),
    };
    list.iter().enumerate().map(tensor).collect()
}

fn adamw(list: &Dynamic, options: Map) -> ScriptResult<Optim> {
    let mut o = OptionsMap::new("optim::adamw", options);
    let default = AdamWConfig::default();
    let betas = match o.floats_opt("betas")?.as_deref() {
        None => default.betas,
        Some([a, b]) => (*a, *b),
        Some(other) => {
            return Err(Error::config(format!("optim::adamw: betas must be two numbers, not {}", other.len())).into());
        }
    };
    let config = AdamWConfig {
        lr: o.float_or("lr", default.lr)?,
        betas,
        eps: o.float_or("eps", default.eps)?,
        weight_decay: o.float_or("weight_decay", default.weight_decay)?,
    };
    o.finish()?;
    Ok(Optim::new(AdamW::new(params(list)?, config)?))
}

fn sgd(list: &Dynamic, options: Map) -> ScriptResult<Optim> {
    let mut o = OptionsMap::new("optim::sgd", options);
    let default = SgdConfig::default();
    let config = SgdConfig {
        lr: o.float_or("lr", default.lr)?,
        momentum: o.float_or("momentum", default.momentum)?,
        dampening: o.float_or("dampening", default.dampening)?,
        weight_decay: o.float_or("weight_decay", default.weight_decay)?,
        nesterov: o.bool_or("nesterov", default.nesterov)?,
    };
    o.finish()?;
    Ok(Optim::new(Sgd::new(params(list)?, config)?))
}

fn grad_scaler(options: Map) -> ScriptResult<Scaler> {
    let mut o = OptionsMap::new("optim::grad_scaler", options);
    let default = GradScalerConfig::default();
    let config = GradScalerConfig {
        enabled: o.bool_or("enabled", default.enabled)?,
        init_scale: o.float_or("init_scale", default.init_scale)?,
        growth_factor: o.float_or("growth_factor", default.growth_factor)?,
        backoff_factor: o.float_or("backoff_factor", default.backoff_factor)?,
        growth_interval: o.usize_or("growth_interval", default.growth_interval as usize)? as u64,
    };
    o.finish()?;
    Ok(Scaler(Arc::new(Mutex::new(GradScaler::new(config)?))))
}

fn parameters(engine: &mut Engine) {
    engine.register_get("len", |p: &mut Parameters| p.0.len() as INT).register_fn("to_string", |p: &mut Parameters| {
        format!("Parameters({} tensors, {} numbers)", p.0.len(), p.0.iter().map(|(_, t)| t.len()).sum::<usize>())
    });
    function("names", ["params: Parameters", "Array"]).register_into_engine(engine, |p: &mut Parameters| -> Array {
        p.0.iter().map(|(n, _)| n.clone().into()).collect()
    });
    function("to_array", ["params: Parameters", "Array"]).register_into_engine(engine, |p: &mut Parameters| -> Array {
        p.0.iter().map(|(_, t)| Dynamic::from(t.clone())).collect()
    });
}

fn optimizer(engine: &mut Engine) {
    engine
        .register_get("lr", |o: &mut Optim| o.lock().lr())
        .register_set("lr", |o: &mut Optim, lr: FLOAT| -> ScriptResult<()> { Ok(o.set_lr(lr)?) })
        .register_get("steps", |o: &mut Optim| o.lock().steps() as INT)
        .register_fn("to_string", |o: &mut Optim| {
            let o = o.lock();
            format!("{}(lr {}, {} tensors, {} steps done)", o.name(), o.lr(), o.params().len(), o.steps())
        });
    function("step", ["optimizer: Optimizer", "()"])
        .register_into_engine(engine, |o: &mut Optim| -> ScriptResult<()> { Ok(o.lock().step()?) });
    function("zero_grad", ["optimizer: Optimizer", "()"])
        .register_into_engine(engine, |o: &mut Optim| o.lock().zero_grad());
    function("clip_grad_norm", ["optimizer: Optimizer", "max: float", "float"]).register_into_engine(
        engine,
        |o: &mut Optim, max: FLOAT| -> ScriptResult<FLOAT> {
            let max = if max == 0.0 { FLOAT::INFINITY } else { max };
            let norm = clip_grad_norm(o.lock().params(), max)?;
            // What a scaler does about an overflow is its everyday work.
            if !o.course().overflowed {
                pause::number("the gradient norm", || norm);
            }
            Ok(norm)
        },
    );
}

fn scaler(engine: &mut Engine) {
    engine
        .register_get("scale_factor", |s: &mut Scaler| s.lock().scale_factor())
        .register_get("enabled", |s: &mut Scaler| s.lock().enabled())
        .register_fn("to_string", |s: &mut Scaler| format!("GradScaler(scale {})", s.lock().scale_factor()));
    function("scale", ["scaler: GradScaler", "loss: Tensor", "Tensor"])
        .register_into_engine(engine, |s: &mut Scaler, loss: Tensor| -> ScriptResult<Tensor> {
            Ok(s.lock().scale(&loss)?)
        });
    function("unscale", ["scaler: GradScaler", "optimizer: Optimizer", "()"]).register_into_engine(
        engine,
        |s: &mut Scaler, o: Optim| -> ScriptResult<()> {
            let mut s = s.lock();
            s.unscale(o.lock().params())?;
            o.course().overflowed = s.overflowed();
            Ok(())
        },
    );
    function("step", ["scaler: GradScaler", "optimizer: Optimizer", "bool"]).register_into_engine(
        engine,
        |s: &mut Scaler, o: Optim| -> ScriptResult<bool> {
            let mut s = s.lock();
            let taken = s.step(&mut *o.lock())?;
            s.update()?;
            o.course().overflowed = false;
            Ok(taken)
        },
    );
}

fn new_schedule(kind: &str, options: Map) -> ScriptResult<Schedule> {
    let mut o = OptionsMap::new("optim::schedule", options);
    let config = ScheduleConfig {
        base_lr: o.float("lr")?,
        warmup: o.int_or("warmup", 0)?,
        total: o.int_opt("total")?,
        min_ratio: o.float_or("min_ratio", 0.0)?,
    };
    o.finish()?;
    Ok(Schedule::parse(kind, config)?)
}

fn schedule(engine: &mut Engine) {
    function("lr", ["schedule: Schedule", "step: int", "float"])
        .register_into_engine(engine, |s: &mut Schedule, step: INT| s.lr(step.max(0) as u64));
    function("apply", ["schedule: Schedule", "optimizer: Optimizer", "step: int", "()"])
        .register_into_engine(engine, |s: &mut Schedule, o: Optim, step: INT| -> ScriptResult<()> {
            Ok(o.follow(s.lr(step.max(0) as u64))?)
        });
}
