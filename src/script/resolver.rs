//! `import`: the embedded standard library, and files that the script may read.
//!
//! A module is compiled and run once, however often it is imported; a cycle is an error that names its members; an
//! error inside a module names that module's file and line.

use super::{
    debug::Statements,
    embedded,
    errors::to_rhai,
    names::{self, Role},
    sources::{Sources, display_name},
};
use crate::bindings::{Access, Context};
use crate::engine::{Error, error::unknown_name};
use rhai::{Engine, EvalAltResult, GlobalRuntimeState, Module, ModuleResolver, Position, Scope, Shared};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Modules whose import is under way at once: each takes stack.
const MAX_NESTED: usize = 64;

type Found<T> = Result<T, Box<EvalAltResult>>;

/// What modules there are; shared by the host and its resolver.
#[derive(Default)]
pub(super) struct Modules(Mutex<State>);

#[derive(Default)]
struct State {
    loaded: HashMap<String, Shared<Module>>,
    /// Scripts and modules whose top level is running now, outermost first.
    running: Vec<String>,
}

impl Modules {
    /// The top level of `name` begins to run: importing it from here on would be a cycle.
    pub(super) fn enter(&self, name: &str) {
        self.state().running.push(name.to_string());
    }

    /// The top level of `name` has ended.
    pub(super) fn leave(&self, name: &str) {
        self.state().running.retain(|n| n != name);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's description.
pub(super) struct Resolver {
    pub(super) sources: Arc<Sources>,
    pub(super) modules: Arc<Modules>,
    /// What scripts may read, they may import.
    pub(super) ctx: Context,
    pub(super) statements: Arc<Statements>,
}

/// The name that identifies the module that `importer` calls `path`, its text, and the folder that its own imports start
/// from.
pub(super) fn find(
    sources: &Sources,
    access: &Access,
    importer: Option<&str>,
    path: &str,
) -> Result<(String, String, Option<PathBuf>), Error> {
    if let Some(name) = path.strip_prefix("std/") {
        let name = name.strip_suffix(".rhai").unwrap_or(name);
        let known = embedded::STDLIB.iter().map(|(name, _)| *name);
        let text = embedded::module(name).ok_or_else(|| unknown_name("module of std", name, known))?;
        return Ok((format!("std/{name}"), text.to_string(), None));
    }
    let folder = match importer.and_then(|name| sources.get(name)) {
        Some(source) => source.folder.ok_or_else(|| {
            Error::config_help(
                format!("import \"{path}\": a script inside the binary imports only \"std/...\""),
                "copy the script to a folder of your own and run it from there",
            )
        })?,
        None => PathBuf::from("."),
    };
    let mut file = folder.join(path);
    if file.extension().is_none_or(|e| e != "rhai") {
        file.as_mut_os_string().push(".rhai");
    }
    // Asked first: whether there is a file outside is not the script's to know.
    access.read(&file)?;
    let real = file.canonicalize().map_err(|_| not_found(path, &file))?;
    let text = std::fs::read_to_string(&real).map_err(Error::io(display_name(&real)))?;
    let folder = real.parent().map(Path::to_path_buf);
    Ok((display_name(&real), text, folder))
}

fn not_found(path: &str, file: &Path) -> Error {
    let message = format!("import \"{path}\": there is no file {}", file.display());
    match embedded::module(path) {
        Some(_) => Error::config_help(message, format!("did you mean `import \"std/{path}\"`?")),
        None => Error::config(message),
    }
}

impl Resolver {
    fn load(
        &self,
        engine: &Engine,
        importer: Option<&str>,
        path: &str,
        pos: Position,
        level: usize,
    ) -> Found<Shared<Module>> {
        let (name, text, folder) =
            find(&self.sources, &self.ctx.access, importer, path).map_err(|e| at(to_rhai(e), pos))?;
        {
            let state = self.modules.state();
            if let Some(module) = state.loaded.get(&name) {
                return Ok(module.clone());
            }
            if let Some(start) = state.running.iter().position(|n| *n == name) {
                let mut cycle = state.running[start..].to_vec();
                cycle.push(name);
                let err = Error::config_help(
                    format!("cyclic import: {}", cycle.join(" -> ")),
                    "move what both need into a third module",
                );
                return Err(at(to_rhai(err), pos));
            }
        }
        if self.modules.state().running.len() >= MAX_NESTED {
            let message = format!("import \"{path}\": {MAX_NESTED} modules import one another already");
            return Err(at(to_rhai(Error::config(message)), pos));
        }
        self.sources.insert(&name, &text, folder);
        self.modules.enter(&name);
        let module = self.evaluate(engine, &name, &text, level);
        self.modules.leave(&name);
        let module = match module {
            Ok(module) => Shared::new(module),
            Err(err) => return Err(Box::new(EvalAltResult::ErrorInModule(name, err, pos))),
        };
        self.modules.state().loaded.insert(name, module.clone());
        Ok(module)
    }

    /// A module sees the registered functions and its own imports, nothing of the importer: it means the same
    /// everywhere.
    fn evaluate(&self, engine: &Engine, name: &str, text: &str, level: usize) -> Found<Module> {
        let ast = names::compile(engine, name, text, Role::Module).map_err(|e| Box::new(EvalAltResult::from(e)))?;
        self.statements.learn(name, &ast);
        let mut global = engine.new_global_runtime_state();
        global.level = level;
        Module::eval_ast_as_new_raw(engine, &mut Scope::new(), &mut global, &ast)
    }
}

fn at(mut err: Box<EvalAltResult>, pos: Position) -> Box<EvalAltResult> {
    err.set_position(pos);
    err
}

impl ModuleResolver for Resolver {
    fn resolve(&self, engine: &Engine, source: Option<&str>, path: &str, pos: Position) -> Found<Shared<Module>> {
        self.load(engine, source, path, pos, 0)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _: &mut Scope,
        path: &str,
        pos: Position,
    ) -> Found<Shared<Module>> {
        self.load(engine, global.source(), path, pos, global.level)
    }
}
