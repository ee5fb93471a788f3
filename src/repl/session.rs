//! What lives on between two inputs: variables, functions, imports.

use super::commands::{self, Next};
use super::prompt::Prompt;
use super::{Report, editor, names, pause::PausePrompt, record::Record};
use crate::bindings::Context;
use crate::engine::{interrupt, pause::Listening};
use crate::script::pieces::{Kind, pieces};
use crate::script::{Diagnostic, Host, Script, catalog::Signature, stack};
use rhai::{AST, Dynamic, Engine, Expr, Module, Position, Scope, Stmt};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The name of the session's text in diagnostics: all inputs together are one growing script.
const NAME: &str = "repl";

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// `:quit`, Ctrl-D, or the end of the piped input.
    Well,
    /// An error in piped input.
    Failed,
    /// Ctrl-C in piped input.
    Interrupted,
}

/// An interactive session.
pub struct Session {
    pub(super) ctx: Context,
    host: Host,
    catalog: Arc<[Signature]>,
    scope: Scope<'static>,
    functions: Module,
    imports: Vec<Stmt>,
    modules: Vec<(String, Arc<[Signature]>)>,
    record: Record,
    /// Lines of text so far.
    lines: usize,
    /// How many there were before each input.
    starts: Vec<usize>,
    report: Report,
}

impl Session {
    /// An empty session; `report` shows what goes wrong.
    pub fn new(ctx: Context, report: Report) -> Self {
        let mut host = Host::new(&ctx, None);
        if ctx.pausable {
            host.attach(Arc::new(PausePrompt::new(ctx.clone(), report.clone())));
        }
        Session {
            ctx,
            catalog: host.catalog().into(),
            host,
            scope: Scope::new(),
            functions: Module::new(),
            imports: Vec::new(),
            modules: Vec::new(),
            record: Record::default(),
            lines: 0,
            starts: Vec::new(),
            report,
        }
    }

    /// Reads and runs inputs until their end, after running `first`.
    pub fn run(mut self, first: Option<Script>) -> Ended {
        let report = self.report.clone();
        if let Some(script) = first
            && let Err(diagnostic) = self.load(&script)
        {
            report(&diagnostic);
        }
        editor::run(&mut self, &*report)
    }

    /// Forgets variables, functions and imports.
    pub(super) fn reset(&mut self) {
        *self = Session::new(self.ctx.clone(), self.report.clone());
    }

    /// Handles one input: a command, or script text whose value is shown.
    pub(super) fn input(&mut self, text: &str) -> Result<Next, Box<Diagnostic>> {
        if let Some((name, rest)) = commands::split(text) {
            return commands::run(self, name, rest);
        }
        // As every other prompt: the words people type when they want to leave or are lost.
        let word = text.trim();
        if ["exit", "quit", "help"].contains(&word) && !self.scope.contains(word) {
            return commands::run(self, if word == "exit" { "quit" } else { word }, "");
        }
        let value = self.eval(text)?;
        // A semicolon at the end says that the value is not of interest.
        let silent = pieces(text).iter().rev().find(|p| p.kind != Kind::Comment).is_some_and(|p| p.of(text) == ";");
        if !silent {
            self.show(&value);
        }
        Ok(Next::Input)
    }

    /// The inputs that succeeded, as a script.
    ///
    /// # Errors
    /// If there are none.
    pub(super) fn script(&self) -> Result<String, Box<Diagnostic>> {
        self.record.script()
    }

    /// Runs a script as if it had been typed in; its diagnostics name its own file.
    pub(super) fn load(&mut self, script: &Script) -> Result<(), Box<Diagnostic>> {
        self.host.admit(script.folder.as_deref());
        let lines = script.text.split('\n').count();
        self.host.sources().contains(NAME, self.lines, lines, &script.name);
        // What is typed in is stopped by Ctrl-C; a script is more: it pauses.
        let _listening = self.ctx.pausable.then(Listening::new);
        self.append(&script.text, script.folder.clone()).map(drop)
    }

    fn append(&mut self, text: &str, folder: Option<PathBuf>) -> Result<Dynamic, Box<Diagnostic>> {
        let here = folder.clone().or_else(|| std::env::current_dir().ok());
        self.host.sources().append(NAME, &format!("{text}\n"), here);
        // Positions count from the session's start, so that an error in an old function finds its line.
        let padded = "\n".repeat(self.lines) + text;
        self.starts.push(self.lines);
        self.lines += text.split('\n').count();

        // A bug of ours costs an input, not the session's variables.
        let result = stack::catching(|| self.run_text(&padded, folder)).unwrap_or_else(|bug| Err(Box::new(bug.into())));
        // A variable that was declared again frees what it held before.
        let mut seen = HashSet::new();
        if self.scope.iter_raw().any(|(name, ..)| !seen.insert(name)) {
            // Rhai turns the order around each time.
            self.scope = self.scope.clone_visible().clone_visible();
        }
        interrupt::clear();
        match result {
            Ok(value) => {
                self.record.add(text);
                Ok(value)
            }
            Err(mut diagnostic) => {
                self.name_files(&mut diagnostic);
                self.cut_snippets(&mut diagnostic);
                Err(diagnostic)
            }
        }
    }

    fn run_text(&mut self, text: &str, folder: Option<PathBuf>) -> Result<Dynamic, Box<Diagnostic>> {
        let ast = self.host.parse(NAME, text)?;
        for function in ast.iter_fn_def() {
            self.functions.set_script_fn(function.clone());
        }
        let mut functions = self.functions.clone();
        functions.set_id(NAME);
        // Imports last for one run only: each run begins with those of earlier ones. The resolver keeps the modules,
        // so this costs nothing.
        let statements = self.imports.iter().chain(ast.statements()).cloned();
        let program = AST::new_with_source(statements, functions, NAME);
        let result = self.host.engine().eval_ast_with_scope::<Dynamic>(&mut self.scope, &program);
        match result {
            Ok(value) => {
                for import in ast.statements().iter().filter_map(|s| lasting_import(s, folder.as_ref())) {
                    self.import(import);
                }
                Ok(value)
            }
            Err(err) => Err(Box::new(self.host.diagnose(&err, NAME, &self.scope))),
        }
    }

    /// Puts the file names and lines of loaded scripts in place of the session's.
    fn name_files(&self, diagnostic: &mut Diagnostic) {
        diagnostic.relocate(|file, line| self.host.sources().origin(file, line));
    }

    /// Takes the lines of other inputs off the text around a fault: that they are neighbours says nothing.
    fn cut_snippets(&self, diagnostic: &mut Diagnostic) {
        let labels = diagnostic.labels.iter_mut().map(|l| (Some(&l.place), l.snippet.as_mut()));
        let own = (diagnostic.place.as_ref(), diagnostic.snippet.as_mut());
        for (place, snippet) in std::iter::once(own).chain(labels) {
            let (Some(place), Some(snippet)) = (place, snippet) else { continue };
            if place.file != NAME {
                continue;
            }
            let before = self.starts.iter().rev().find(|start| **start < place.line).copied().unwrap_or(0);
            let last = self.starts.iter().find(|start| **start >= place.line).copied().unwrap_or(self.lines);
            let above = (before + 1).saturating_sub(snippet.first).min(snippet.lines.len());
            snippet.lines.drain(..above);
            snippet.first += above;
            snippet.lines.truncate((last + 1).saturating_sub(snippet.first));
        }
    }

    /// Keeps an import that has just been run.
    fn import(&mut self, statement: Stmt) {
        if let Stmt::Import(import, _) = &statement
            && let (Expr::StringConstant(path, _), name) = (&import.0, import.1.name.as_str())
            && !name.is_empty()
            // The resolver has it loaded.
            && let Ok(module) = self.host.engine().module_resolver().resolve(self.host.engine(), Some(NAME), path, Position::NONE)
        {
            self.modules.retain(|(known, _)| known != name);
            self.modules.push((name.to_string(), names::scripted(name, &module).into()));
        }
        self.imports.push(statement);
    }
}

impl Prompt for Session {
    fn ctx(&self) -> &Context {
        &self.ctx
    }

    fn engine(&self) -> &Engine {
        self.host.engine()
    }

    fn scope(&self) -> &Scope<'_> {
        &self.scope
    }

    fn catalog(&self) -> Arc<[Signature]> {
        self.catalog.clone()
    }

    fn functions(&self) -> Vec<Signature> {
        names::scripted("", &self.functions)
    }

    fn modules(&self) -> Vec<(String, Arc<[Signature]>)> {
        self.modules.clone()
    }

    fn eval(&mut self, text: &str) -> Result<Dynamic, Box<Diagnostic>> {
        self.append(text, None)
    }
}

/// `statement`, if it is an import, in a form that means the same from any folder.
fn lasting_import(statement: &Stmt, folder: Option<&PathBuf>) -> Option<Stmt> {
    let Stmt::Import(import, pos) = statement else { return None };
    let mut import = import.clone();
    if let (Expr::StringConstant(path, _), Some(folder)) = (&mut import.0, folder)
        && !path.starts_with("std/")
    {
        *path = folder.join(path.as_str()).display().to_string().into();
    }
    Some(Stmt::Import(import, *pos))
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("lines", &self.lines).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bindings::HostContext;
    use crate::engine::progress::Silent;

    /// A session that shows nothing.
    pub(in crate::repl) fn session() -> Session {
        Session::new(Arc::new(HostContext::new(Arc::new(Silent))), Arc::new(|_| {}))
    }
}
