//! `runs::`: run directories: log, curves, saved state, report.

use super::data::Batch;
use super::error::placed;
use super::llama::Model;
use super::optim::{Optim, Scaler};
use super::registration::{function, module_function};
use super::report::json;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::interrupt::{self, Graceful};
use crate::engine::run::open::Opened;
use crate::engine::run::reading::Reading;
use crate::engine::run::training::{self, Position};
use crate::engine::run::{Fields, LOG_FILE, Policy, Run, log};
use crate::engine::{Error, Result, pause};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map, Module, NativeCallContext};
use serde_json::Value as Json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A run directory as scripts hold it.
#[derive(Clone)]
pub struct RunHandle(Arc<Mutex<Open>>);

pub(super) struct Open {
    pub(super) run: Run,
    /// From the first saved state on, Ctrl-C waits for the next one.
    graceful: Option<Graceful>,
    notes: Map,
}

impl RunHandle {
    pub(super) fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<RunHandle>("Run");
    let mut module = Module::new();
    let c = ctx.clone();
    function("create", ["dir: string", "settings: Map", "Run"])
        .set_into_module(&mut module, move |at: NativeCallContext, dir: &str, settings: Map| {
            placed(&at, create(&c, dir, settings, Map::new()))
        });
    let c = ctx.clone();
    function("create", ["dir: string", "settings: Map", "options: Map", "Run"]).set_into_module(
        &mut module,
        move |at: NativeCallContext, dir: &str, settings: Map, options: Map| {
            placed(&at, create(&c, dir, settings, options))
        },
    );
    let c = ctx.clone();
    module_function("lines", ["dir: string", "Array"])
        .set_into_module(&mut module, move |at: NativeCallContext, dir: &str| placed(&at, lines(&c, dir)));
    module_function("reading", ["lines: Array", "Map"])
        .set_into_module(&mut module, |at: NativeCallContext, lines: Array| placed(&at, reading(lines)));
    let c = ctx.clone();
    function("open", ["dir: string", "Map"])
        .set_into_module(&mut module, move |at: NativeCallContext, dir: &str| placed(&at, open(&c, dir)));
    engine.register_static_module("runs", module.into());
    engine
        .register_get("dir", |r: &mut RunHandle| r.lock().run.dir().display().to_string())
        .register_get("resumed", |r: &mut RunHandle| r.lock().run.resumed())
        .register_get("step", |r: &mut RunHandle| r.lock().run.step() as INT)
        .register_fn("to_string", |r: &mut RunHandle| r.summary());
    logging(engine, ctx);
    state(engine, ctx);
}

fn fields(map: Map) -> ScriptResult<Fields> {
    map.iter().map(|(key, value)| Ok((key.to_string(), json(value)?))).collect()
}

/// Looks for NaN and inf among logged numbers. A step that the scaler skipped has them for a reason.
fn watch(values: &Map) {
    let skipped = values.get("skipped").is_some_and(|s| s.as_bool() == Ok(true));
    for (key, value) in values.iter().filter(|_| !skipped) {
        if let Ok(x) = value.as_float() {
            pause::number(&format!("`{key}`"), || x);
        }
    }
}

fn to_map(fields: Fields) -> ScriptResult<Map> {
    let mut map = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), crate::engine::run::number::from_json(&value)) {
            ("loss" | "train_loss" | "val_loss", Some(x)) => Dynamic::from(x),
            (_, Some(x)) if !x.is_finite() => Dynamic::from(x),
            _ => rhai::serde::to_dynamic(value)?,
        };
        map.insert(key.into(), value);
    }
    Ok(map)
}

fn create(ctx: &Context, dir: &str, settings: Map, options: Map) -> ScriptResult<RunHandle> {
    let mut o = OptionsMap::new("runs::create", options);
    let policy = match o.string_opt("policy")? {
        Some(name) => Policy::parse(&name)?,
        None if ctx.resuming => Policy::Resume,
        None => Policy::Number,
    };
    let events = o.bool_or("tensorboard", true)?;
    o.finish()?;
    ctx.access.write_run(dir)?;
    let mut run = Run::create(dir, json(&Dynamic::from_map(settings))?, policy)?;
    if let Some(text) = &ctx.settings {
        run.keep_settings(text)?;
    }
    if events {
        run.write_events()?;
    }
    for notice in run.notices() {
        ctx.output.note(notice);
    }
    let notes: Map = rhai::serde::to_dynamic(run.notes())?.try_cast().unwrap_or_default();
    Ok(RunHandle(Arc::new(Mutex::new(Open { run, graceful: None, notes }))))
}

/// A run as plain data: what it is, how it went, what it logged.
fn open(ctx: &Context, dir: &str) -> ScriptResult<Map> {
    let opened = Opened::read(&ctx.access.read(dir)?)?;
    let mut map = summary_map(&opened)?;
    let rows =
        opened.log.into_iter().map(|line| to_map(line).map(Dynamic::from_map)).collect::<ScriptResult<Vec<_>>>()?;
    map.insert("dir".into(), dir.into());
    map.insert("settings".into(), rhai::serde::to_dynamic(&opened.settings)?);
    map.insert("notes".into(), rhai::serde::to_dynamic(&opened.notes)?);
    map.insert("log".into(), Dynamic::from_array(rows));
    Ok(map)
}

fn summary_map(opened: &Opened) -> ScriptResult<Map> {
    Ok(rhai::serde::to_dynamic(opened.summary())?.try_cast::<Map>().unwrap_or_default())
}

/// A log line for the script, told to whoever shows the run.
fn told(ctx: &Context, line: Fields) -> ScriptResult<Map> {
    ctx.output.logged(&line);
    to_map(line)
}

fn logging(engine: &mut Engine, ctx: &Context) {
    function("log_batch", ["run: Run", "loss: float", "batch: Batch", "()"]).register_into_engine(
        engine,
        |r: &mut RunHandle, loss: FLOAT, batch: Batch| {
            pause::loss("the loss", || loss);
            r.lock().run.log_micro(loss, batch.0.label_tokens as u64, batch.0.tokens as u64);
        },
    );
    let c = ctx.clone();
    function("log_step", ["run: Run", "values: Map", "Map"]).register_into_engine(
        engine,
        move |r: &mut RunHandle, values: Map| -> ScriptResult<Map> {
            watch(&values);
            let line = r.lock().run.log_step(fields(values)?)?;
            told(&c, line)
        },
    );
    let c = ctx.clone();
    function("log_epoch", ["run: Run", "values: Map", "Map"]).register_into_engine(
        engine,
        move |r: &mut RunHandle, values: Map| -> ScriptResult<Map> {
            watch(&values);
            let line = r.lock().run.log_epoch(fields(values)?)?;
            told(&c, line)
        },
    );
    let c = ctx.clone();
    function("log_eval", ["run: Run", "values: Map", "Map"]).register_into_engine(
        engine,
        move |r: &mut RunHandle, values: Map| -> ScriptResult<Map> {
            watch(&values);
            let line = r.lock().run.log_eval(fields(values)?)?;
            told(&c, line)
        },
    );
    let c = ctx.clone();
    function("note", ["run: Run", "name: string", "value: any", "()"]).register_into_engine(
        engine,
        move |r: &mut RunHandle, name: &str, value: Dynamic| -> ScriptResult<()> {
            let mut open = r.lock();
            let plain = json(&value)?;
            c.output.noted(name, &plain);
            open.run.note(name, plain)?;
            open.notes.insert(name.into(), value);
            Ok(())
        },
    );
    function("notes", ["run: Run", "Map"]).register_into_engine(engine, |r: &mut RunHandle| r.lock().notes.clone());
}

/// The model, optimizer and scaler named in an option map.
struct Parts {
    model: Model,
    optimizer: Optim,
    scaler: Option<Scaler>,
}

impl Parts {
    fn read(o: &mut OptionsMap) -> Result<Self> {
        let need = |what: &str| Error::config(format!("`{what}` is missing"));
        Ok(Parts {
            model: o.object_opt("model", "a Model")?.ok_or_else(|| need("model"))?,
            optimizer: o.object_opt("optimizer", "an Optimizer")?.ok_or_else(|| need("optimizer"))?,
            scaler: o.object_opt("scaler", "a GradScaler")?,
        })
    }
}

fn state(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    function("resume", ["run: Run", "parts: Map", "Map"])
        .register_into_engine(engine, move |r: &mut RunHandle, parts: Map| -> ScriptResult<Map> {
            resume(&c, r, parts)
        });
    let c = ctx.clone();
    function("save_state", ["run: Run", "parts: Map", "()"])
        .register_into_engine(engine, move |r: &mut RunHandle, parts: Map| -> ScriptResult<()> {
            save_state(&c, r, parts)
        });
    function("plot", ["run: Run", "()"]).register_into_engine(engine, |r: &mut RunHandle| -> ScriptResult<()> {
        r.lock().run.plot()?;
        Ok(())
    });
    function("report", ["run: Run", "string"])
        .register_into_engine(engine, |r: &mut RunHandle| -> ScriptResult<String> {
            Ok(r.lock().run.report()?.display().to_string())
        });
    function("finish", ["run: Run", "()"])
        .register_into_engine(engine, |r: &mut RunHandle| -> ScriptResult<()> { finish(r, Map::new()) });
    function("finish", ["run: Run", "options: Map", "()"]).register_into_engine(engine, finish);
}

fn finish(handle: &mut RunHandle, options: Map) -> ScriptResult<()> {
    let mut o = OptionsMap::new("Run.finish", options);
    let report = o.bool_or("report", true)?;
    o.finish()?;
    let mut open = handle.lock();
    open.graceful = None;
    open.run.finish()?;
    if report {
        open.run.report()?;
    }
    Ok(())
}

fn lines(ctx: &Context, dir: &str) -> ScriptResult<Array> {
    let path = ctx.access.read(dir)?.join(LOG_FILE);
    log::read(path)?.into_iter().map(|line| Ok(to_map(line)?.into())).collect()
}

fn reading(lines: Array) -> ScriptResult<Map> {
    let lines = lines.into_iter().map(|line| match line.try_cast::<Map>() {
        Some(line) => fields(line),
        None => Err(Error::config("runs::reading: a line must be a map, as `runs::lines` gives them").into()),
    });
    let read = Reading::of(&lines.collect::<ScriptResult<Vec<Fields>>>()?);
    Ok(rhai::serde::to_dynamic(read.to_json())?.try_cast().unwrap_or_default())
}

fn resume(ctx: &Context, handle: &mut RunHandle, parts: Map) -> ScriptResult<Map> {
    let mut o = OptionsMap::new("resume", parts);
    let parts = Parts::read(&mut o)?;
    o.finish()?;
    let mut open = handle.lock();
    let (position, extra) = match open.run.take_saved() {
        None => (Position::default(), Json::Null),
        Some(saved) => {
            let mut scaler = parts.scaler.as_ref().map(Scaler::lock);
            let mut optimizer = parts.optimizer.lock();
            let restored = training::restore(saved, &parts.model.read(), &mut *optimizer, scaler.as_deref_mut())?;
            let training::Restored { position: at, by_hand, extra } = restored;
            parts.optimizer.set_by_hand(by_hand);
            let dir = open.run.dir().display();
            ctx.output.note(&format!(
                "resuming {dir} after step {} (epoch {}, window {})",
                at.step,
                at.epoch + 1,
                at.window
            ));
            (at, extra)
        }
    };
    let number = |n: u64| Dynamic::from(n as INT);
    Ok(Map::from([
        ("epoch".into(), number(position.epoch)),
        ("window".into(), number(position.window)),
        ("step".into(), number(position.step)),
        ("extra".into(), rhai::serde::to_dynamic(extra)?),
    ]))
}

fn save_state(ctx: &Context, handle: &mut RunHandle, parts: Map) -> ScriptResult<()> {
    let mut o = OptionsMap::new("save_state", parts);
    let parts = Parts::read(&mut o)?;
    let position = Position {
        epoch: o.usize_opt("epoch")?.unwrap_or(0) as u64,
        window: o.usize_opt("window")?.unwrap_or(0) as u64,
        step: o.usize_opt("step")?.unwrap_or(0) as u64,
    };
    let every = o.usize_or("every", 1usize)?.max(1) as u64;
    let extra = o.map_opt("extra")?.map_or(Ok(Json::Null), |map| json(&Dynamic::from_map(map)))?;
    o.finish()?;
    let mut open = handle.lock();
    let stopping = interrupt::requested();
    if stopping || position.step.is_multiple_of(every) {
        let scaler = parts.scaler.as_ref().map(Scaler::lock);
        let (tensors, meta) = training::collect(
            &parts.model.read(),
            &*parts.optimizer.lock(),
            scaler.as_deref(),
            parts.optimizer.by_hand(),
            position,
            extra,
        )?;
        open.run.save_state(tensors, meta)?;
    }
    if stopping {
        open.graceful = None;
        let dir = open.run.dir().display();
        ctx.output.note(&format!("state saved in {dir} after step {}; continue with --resume", position.step));
        return Err(Error::Interrupted.into());
    }
    if open.graceful.is_none() {
        open.graceful = Some(Graceful::new());
    }
    Ok(())
}
