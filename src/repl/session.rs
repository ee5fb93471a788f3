//! What lives on between two inputs: variables, functions, imports.

use super::{commands, editor};
use crate::bindings::Context;
use crate::engine::interrupt;
use crate::script::{Diagnostic, Host, Script, stack};
use rhai::{AST, Dynamic, Expr, Module, Scope, Stmt};
use std::path::PathBuf;

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
    pub(super) host: Host,
    pub(super) scope: Scope<'static>,
    functions: Module,
    imports: Vec<Stmt>,
    /// Lines of text so far.
    lines: usize,
    /// Scripts that were loaded into the text: first line, number of lines, name.
    loaded: Vec<(usize, usize, String)>,
}

impl Session {
    /// An empty session.
    pub fn new(ctx: Context) -> Self {
        Session {
            host: Host::new(&ctx, None),
            ctx,
            scope: Scope::new(),
            functions: Module::new(),
            imports: Vec::new(),
            lines: 0,
            loaded: Vec::new(),
        }
    }

    /// Reads and runs inputs until their end, after running `first`; `report` shows what goes wrong.
    pub fn run(mut self, first: Option<Script>, report: &dyn Fn(&Diagnostic)) -> Ended {
        if let Some(script) = first
            && let Err(diagnostic) = self.load(&script)
        {
            report(&diagnostic);
        }
        editor::run(&mut self, report)
    }

    /// Forgets variables, functions and imports.
    pub(super) fn reset(&mut self) {
        *self = Session::new(self.ctx.clone());
    }

    /// Handles one input: a `:command`, or script text whose value is shown.
    pub(super) fn input(&mut self, text: &str) -> Result<commands::Next, Box<Diagnostic>> {
        if let Some(command) = text.trim().strip_prefix(':') {
            return commands::run(self, command);
        }
        let value = self.eval(text)?;
        if !value.is_unit() {
            let shown = self.host.show(value);
            self.ctx.output.line(&shown);
        }
        Ok(commands::Next::Input)
    }

    /// Runs script text.
    pub(super) fn eval(&mut self, text: &str) -> Result<Dynamic, Box<Diagnostic>> {
        self.append(text, None)
    }

    /// Runs a script as if it had been typed in; its diagnostics name its own file.
    pub(super) fn load(&mut self, script: &Script) -> Result<(), Box<Diagnostic>> {
        self.host.admit(script.folder.as_deref());
        self.loaded.push((self.lines, script.text.split('\n').count(), script.name.clone()));
        self.append(&script.text, script.folder.clone()).map(drop)
    }

    fn append(&mut self, text: &str, folder: Option<PathBuf>) -> Result<Dynamic, Box<Diagnostic>> {
        let here = folder.clone().or_else(|| std::env::current_dir().ok());
        self.host.sources().append(NAME, &format!("{text}\n"), here);
        // Positions count from the session's start, so that an error in an old function finds its line.
        let padded = "\n".repeat(self.lines) + text;
        self.lines += text.split('\n').count();

        // A bug of ours costs an input, not the session's variables.
        let result = stack::catching(|| self.run_text(&padded, folder)).unwrap_or_else(|bug| Err(Box::new(bug.into())));
        // A variable that was declared again frees what it held before.
        self.scope = self.scope.clone_visible();
        interrupt::clear();
        result.map_err(|mut diagnostic| {
            self.name_files(&mut diagnostic);
            diagnostic
        })
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
                self.imports.extend(ast.statements().iter().filter_map(|s| lasting_import(s, folder.as_ref())));
                Ok(value)
            }
            Err(err) => Err(Box::new(self.host.diagnose(&err, NAME, &self.scope))),
        }
    }

    /// Puts the file names and lines of loaded scripts in place of the session's.
    fn name_files(&self, diagnostic: &mut Diagnostic) {
        diagnostic.relocate(|file, line| {
            let loaded = self.loaded.iter().find(|(first, lines, _)| (first + 1..=first + lines).contains(&line));
            loaded.filter(|_| file == NAME).map(|(first, _, name)| (name.clone(), line - first))
        });
    }

    /// Names and parameters of the session's own functions.
    pub(super) fn functions(&self) -> Vec<String> {
        self.functions.iter_script_fn_info().map(|(.., function)| function.to_string()).collect()
    }

    /// Names of the modules imported so far.
    pub(super) fn modules(&self) -> Vec<String> {
        let names = self.imports.iter().filter_map(|s| match s {
            Stmt::Import(import, _) => Some(import.1.name.to_string()),
            _ => None,
        });
        names.filter(|n| !n.is_empty()).collect()
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
