//! `run_script(name, options)`: another script run to its end from within one, for sweeps and for tests of recipes.

use super::{
    host::Host,
    names::{self, Role},
    options::{Declared, HostFlags},
    recipes::{self, Found},
    sources::Sources,
};
use crate::bindings::{Context, HostContext, Output, ScriptResult};
use crate::engine::progress::{Progress, Reporter, Unit};
use crate::engine::{Error, error::unknown_name};
use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, FuncRegistration, Map, NativeCallContext, Scope};
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Scripts that run scripts that run scripts: each level takes its part of the native stack.
const DEPTH: usize = 4;

thread_local! {
    static RUNNING: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn register(engine: &mut Engine, ctx: &Context, sources: &Arc<Sources>) {
    let function = |params: &[&str]| {
        FuncRegistration::new("run_script").in_global_namespace().with_volatility(true).with_params_info(params)
    };
    let (c, s) = (ctx.clone(), sources.clone());
    function(&["name: string", "Map"])
        .register_into_engine(engine, move |cx: NativeCallContext, name: &str| run(&c, &s, &cx, name, Map::new()));
    let (c, s) = (ctx.clone(), sources.clone());
    function(&["name: string", "options: Map", "Map"])
        .register_into_engine(engine, move |cx: NativeCallContext, name: &str, options: Map| {
            run(&c, &s, &cx, name, options)
        });
}

fn run(
    ctx: &Context,
    sources: &Arc<Sources>,
    cx: &NativeCallContext,
    name: &str,
    mut options: Map,
) -> ScriptResult<Map> {
    let _level = Level::enter()?;
    let folder = cx.call_source().and_then(|source| sources.get(source)).and_then(|source| source.folder);
    let found = find(ctx, folder.as_deref(), name)?;
    let script = &found.script;
    sources.insert(&script.name, &script.text, script.folder.clone());
    // What fails inside is an error of that file, called from here.
    let inside = |e: Box<EvalAltResult>| {
        Box::new(EvalAltResult::ErrorInFunctionCall(name.to_string(), script.name.clone(), e, cx.call_position()))
    };

    let declared = found.declared().map_err(|d| Error::config(format!("run_script: {name}: {}", d.message)))?;
    let resuming = match options.get("resume").map(Dynamic::as_bool) {
        Some(Ok(on)) if !declared.options.iter().any(|o| o.name == "resume") => options.remove("resume").map(|_| on),
        _ => None,
    };
    let tee = Arc::new(Tee { kept: Mutex::default(), output: ctx.output.clone() });
    let mut inner = HostContext::new(tee.clone());
    inner.options = values(name, &declared, options)?;
    inner.resuming = resuming.unwrap_or(false);
    inner.device = ctx.device.clone();
    inner.access = ctx.access.clone();
    inner.max_ops = ctx.max_ops;
    let host = Host::sharing(&Arc::new(inner), found.folder.as_deref(), sources.clone());
    let engine = host.engine();
    let ast = names::compile(engine, &script.name, &script.text, Role::Main);
    let ast = ast.map_err(|e| inside(Box::new(e.into())))?;
    let mut scope = Scope::new();
    let ended = host.within(&script.name, || engine.eval_ast_with_scope::<Dynamic>(&mut scope, &ast));
    let _ = ended.map_err(inside)?;

    // A function is of use only to the engine that knows its script.
    let variables = scope.iter().filter(|(_, _, value)| !value.is::<FnPtr>());
    let variables: Map = variables.map(|(name, _, value)| (name.into(), value.flatten())).collect();
    let output = tee.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Map::from([("output".into(), output.into()), ("variables".into(), variables.into())]))
}

/// The defaults of `declared` with `given` in their place.
fn values(script: &str, declared: &Declared, given: Map) -> Result<Map, Error> {
    let mut map = declared.parse(&[], HostFlags::default()).map_err(|d| Error::config(d.message))?.options;
    for (key, value) in given {
        let Some(spec) = declared.options.iter().find(|o| o.name == key.as_str()) else {
            let known = declared.options.iter().map(|o| o.name.as_str());
            return Err(unknown_name(&format!("option of {script}"), &key, known));
        };
        let value = value.flatten();
        let value = match value.as_int() {
            Ok(n) if spec.kind.is_float() => Dynamic::from_float(n as rhai::FLOAT),
            _ => value,
        };
        if value.type_name() != spec.kind.type_name() && !spec.kind.is_unit() {
            let (found, wanted) = (value.type_name(), spec.kind.type_name());
            let text = format!("run_script: option `{key}` of {script} is {value} ({found}); its default is {wanted}");
            return Err(Error::config(text));
        }
        map.insert(key, value);
    }
    Ok(map)
}

/// The script called `name`: a path from the folder of the script that calls, or what `host run` would find.
fn find(ctx: &Context, folder: Option<&Path>, name: &str) -> Result<Found, Error> {
    let beside = folder.map(|f| f.join(name)).filter(|p| p.exists());
    let path = beside.map_or_else(|| name.to_string(), |p| p.display().to_string());
    if Path::new(&path).exists() {
        ctx.access.read(&path)?;
    }
    recipes::find(&path).map_err(|d| match d.help.into_iter().next() {
        Some(help) => Error::config_help(d.message, help),
        None => Error::config(d.message),
    })
}

/// Counts the scripts that run inside each other.
struct Level;

impl Level {
    fn enter() -> Result<Level, Error> {
        if RUNNING.get() >= DEPTH {
            return Err(Error::config(format!("run_script: scripts run each other more than {DEPTH} deep")));
        }
        RUNNING.set(RUNNING.get() + 1);
        Ok(Level)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
    }
}

/// Passes everything on, and keeps what goes to standard output.
struct Tee {
    kept: Mutex<String>,
    output: Arc<dyn Output>,
}

impl Tee {
    fn keep(&self, text: &str, end: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_str(text);
        kept.push_str(end);
    }
}

impl Reporter for Tee {
    fn start(&self, total: u64, label: &str, unit: Unit) -> Box<dyn Progress> {
        self.output.start(total, label, unit)
    }
}

impl Output for Tee {
    fn line(&self, text: &str) {
        self.keep(text, "\n");
        self.output.line(text);
    }

    fn text(&self, text: &str) {
        self.keep(text, "");
        self.output.text(text);
    }

    fn note(&self, text: &str) {
        self.output.note(text);
    }
}
