//! `workers::`: jobs of a queue in processes of their own, for `std/queue`.

use super::error::placed;
use super::registration::{function, getter, module_function};
use super::report::json;
use super::{Context, OptionsMap, ScriptResult};
use crate::engine::Error;
use crate::engine::workers::{Done, Pool};
use rhai::{Dynamic, Engine, EvalAltResult, FLOAT, INT, Map, Module, NativeCallContext, Position};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The workers of a queue as scripts hold them.
#[derive(Clone)]
pub struct Workers(Arc<Mutex<Pool>>);

impl Workers {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<Workers>("Workers");
    let mut module = Module::new();
    let c = ctx.clone();
    module_function("available", ["bool"]).set_into_module(&mut module, move || c.launcher.is_some());
    let c = ctx.clone();
    module_function("order", ["Map or ()"]).set_into_module(&mut module, move || order(&c));
    let c = ctx.clone();
    module_function("deliver", ["value: any", "seconds: float", "()"])
        .set_into_module(&mut module, move |at: NativeCallContext, value: Dynamic, seconds: FLOAT| {
            placed(&at, deliver(&c, &value, seconds))
        });
    let c = ctx.clone();
    module_function("open", ["dir: string", "options: Map", "Workers"])
        .set_into_module(&mut module, move |at: NativeCallContext, dir: &str, options: Map| {
            placed(&at, open(&c, dir, options))
        });
    engine.register_static_module("workers", module.into());

    getter("free", "Workers", "bool").register_into_engine(engine, |w: &mut Workers| w.lock().free());
    getter("running", "Workers", "int").register_into_engine(engine, |w: &mut Workers| w.lock().running() as INT);
    function("start", ["workers: Workers", "number: int", "job: string", "()"]).register_into_engine(
        engine,
        |w: &mut Workers, number: INT, job: &str| -> ScriptResult<()> {
            let wrong = || Error::config(format!("Workers.start: {number} is no job's number"));
            Ok(w.lock().start(usize::try_from(number).map_err(|_| wrong())?, job)?)
        },
    );
    let c = ctx.clone();
    function("wait", ["workers: Workers", "Map or ()"])
        .register_into_engine(engine, move |w: &mut Workers| -> ScriptResult<Dynamic> { wait(&c, w) });
}

fn order(ctx: &Context) -> Dynamic {
    let Some(order) = &ctx.order else { return Dynamic::UNIT };
    Map::from([("queue".into(), order.queue.clone().into()), ("job".into(), order.job.clone().into())]).into()
}

fn deliver(ctx: &Context, value: &Dynamic, seconds: FLOAT) -> ScriptResult<()> {
    let order = ctx.order.as_ref().ok_or_else(|| {
        Error::config_help(
            "workers::deliver: nobody waits for a result: this process is no worker",
            "ask `workers::order()` first",
        )
    })?;
    order.deliver(json(value)?, seconds)?;
    Err(Box::new(EvalAltResult::Exit(Dynamic::UNIT, Position::NONE)))
}

fn open(ctx: &Context, dir: &str, options: Map) -> ScriptResult<Workers> {
    let mut o = OptionsMap::new("workers::open", options);
    let lanes = o.usize_or("lanes", 1usize)?;
    let threads = o.usize_or("threads", 1usize)?;
    o.finish()?;
    ctx.access.write(dir)?;
    Ok(Workers(Arc::new(Mutex::new(Pool::open(ctx.launcher.clone(), dir, lanes, threads)?))))
}

fn wait(ctx: &Context, workers: &mut Workers) -> ScriptResult<Dynamic> {
    let mut pool = workers.lock();
    match pool.wait() {
        Ok(None) => Ok(Dynamic::UNIT),
        Ok(Some(Done { job, result, seconds })) => {
            let result: Dynamic = rhai::serde::to_dynamic(result)?;
            Ok(Map::from([("job".into(), job.into()), ("result".into(), result), ("seconds".into(), seconds.into())])
                .into())
        }
        Err(e) => {
            if matches!(e, Error::Interrupted) {
                ctx.output.note("the jobs side by side have stopped; the same command goes on where they were");
            }
            Err(e.into())
        }
    }
}
