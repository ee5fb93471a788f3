//! A host for scripts: one engine, its sources, and the way from source text to a result or a [`Diagnostic`].

use super::{
    catalog::{self, Signature},
    debug::{self, Pauser, Statements},
    diagnostics::{self, Diagnostic},
    engine, explain,
    names::{self, Role},
    nested,
    resolver::{Modules, Resolver},
    sources::Sources,
};
use crate::bindings::{Access, Context};
use crate::engine::pause::Listening;
use rhai::{AST, Dynamic, Engine, EvalAltResult, ImmutableString, Scope};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A script's text and where it came from.
#[derive(Debug, Clone)]
pub struct Script {
    /// The name that diagnostics show.
    pub name: String,
    /// The text.
    pub text: String,
    /// The folder that relative imports start from; `None` for scripts inside the binary.
    pub folder: Option<PathBuf>,
}

/// Runs scripts. Everything a script can reach was put in by [`Host::new`].
pub struct Host {
    engine: Engine,
    sources: Arc<Sources>,
    modules: Arc<Modules>,
    catalog: OnceLock<Vec<Signature>>,
    ctx: Context,
    statements: Arc<Statements>,
}

impl Host {
    /// A host for `ctx`, whose scripts may read and import from below `folder` too.
    pub fn new(ctx: &Context, folder: Option<&Path>) -> Self {
        Host::sharing(ctx, folder, Arc::new(Sources::default()))
    }

    /// [`Host::new`] that adds its texts to `sources`.
    pub(super) fn sharing(ctx: &Context, folder: Option<&Path>, sources: Arc<Sources>) -> Self {
        let modules = Arc::new(Modules::default());
        let statements = Arc::new(Statements::default());
        let resolver = Resolver {
            sources: sources.clone(),
            modules: modules.clone(),
            ctx: ctx.clone(),
            statements: statements.clone(),
        };
        let mut engine = engine::assemble(ctx, resolver);
        nested::register(&mut engine, ctx, &sources);
        let host = Host { engine, sources, modules, catalog: OnceLock::new(), ctx: ctx.clone(), statements };
        host.admit(folder);
        host
    }

    /// Lets scripts pause, from the next one compiled on, and has `pauser` asked what to do then.
    pub fn attach(&mut self, pauser: Arc<dyn Pauser>) {
        debug::attach(&mut self.engine, self.statements.clone(), self.sources.clone(), pauser);
    }

    /// The engine, for the session and for tools that look at scripts without running them.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The texts that have taken part so far.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The files that scripts have read or imported so far.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.sources.files();
        files.extend(self.ctx.access.files_read());
        files
    }

    /// What its scripts may read and write.
    pub(super) fn access(&self) -> &Access {
        &self.ctx.access
    }

    /// Everything that scripts can name; collected once.
    pub fn catalog(&self) -> &[Signature] {
        self.catalog.get_or_init(|| catalog::collect(&self.engine))
    }

    /// Compiles `script`.
    pub fn compile(&self, script: &Script) -> Result<AST, Box<Diagnostic>> {
        self.sources.insert(&script.name, &script.text, script.folder.clone());
        let compiled = names::compile(&self.engine, &script.name, &script.text, Role::Main);
        let ast = compiled.map_err(|e| Box::new(diagnostics::from_parse_error(&e, &script.name, &self.sources)))?;
        self.statements.learn(&script.name, &ast);
        Ok(ast)
    }

    /// Compiles `text`, which [`Host::sources`] knows as `name`.
    pub fn parse(&self, name: &str, text: &str) -> Result<AST, Box<Diagnostic>> {
        let compiled = self.engine.compile(text);
        let mut ast = compiled.map_err(|e| Box::new(diagnostics::from_parse_error(&e, name, &self.sources)))?;
        ast.set_source(name);
        self.statements.learn(name, &ast);
        Ok(ast)
    }

    /// Lets scripts read and import from below `folder` too.
    pub fn admit(&self, folder: Option<&Path>) {
        if let Some(folder) = folder {
            self.ctx.access.admit(folder);
        }
    }

    /// Compiles and runs `script`.
    pub fn run(&self, script: &Script) -> Result<(), Box<Diagnostic>> {
        self.eval(script).map(drop)
    }

    /// Compiles and runs `script`, and returns its last value as text: strings bare, `None` for `()`.
    pub fn value(&self, script: &Script) -> Result<Option<String>, Box<Diagnostic>> {
        let value = self.eval(script)?;
        Ok(match value.try_cast_result::<ImmutableString>() {
            Ok(text) => Some(text.to_string()),
            Err(value) if value.is_unit() => None,
            Err(value) => Some(self.show(value)),
        })
    }

    fn eval(&self, script: &Script) -> Result<Dynamic, Box<Diagnostic>> {
        let ast = self.compile(script)?;
        let mut scope = Scope::new();
        let _listening = self.ctx.pausable.then(Listening::new);
        let result = self.within(&script.name, || self.engine.eval_ast_with_scope::<Dynamic>(&mut scope, &ast));
        match result {
            Ok(value) => Ok(value),
            Err(err) => Err(Box::new(self.diagnose(&err, &script.name, &scope))),
        }
    }

    /// Runs `work`, which evaluates the top level of the script `name`: to import that one meanwhile would be a cycle.
    pub(super) fn within<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        self.modules.enter(name);
        let result = work();
        self.modules.leave(name);
        result
    }

    /// `err` of the script `file`, whose variables were in `scope`.
    pub fn diagnose(&self, err: &EvalAltResult, file: &str, scope: &Scope) -> Diagnostic {
        let variables = scope.iter_raw().map(|(name, ..)| name.to_string()).collect();
        let context = explain::Context { engine: &self.engine, sources: &self.sources, variables };
        diagnostics::from_eval_error(err, file, &context)
    }

    /// `value` as a session shows it: strings in quotes, objects by their `to_debug`.
    pub fn show(&self, value: Dynamic) -> String {
        let fallback = value.to_string();
        match self.engine.eval_fn_call::<ImmutableString>(rhai::FUNC_TO_DEBUG, None, (value,)) {
            Ok(text) => text.to_string(),
            Err(_) => fallback,
        }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("sources", &self.sources).finish_non_exhaustive()
    }
}
