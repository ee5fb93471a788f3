//! `*_test.rhai`: finds the files, runs each `fn test_*` by itself, and says how it ended.
//!
//! Each test begins alike, alone or among others: the file's top level is evaluated anew, the random stream starts from
//! the same seed, and its temporary directory is empty. `setup()` and `teardown()` run around each test where the file
//! has them; a test with a parameter is handed what `setup` returned.

use super::{
    diagnostics::{Diagnostic, Place},
    host::{Host, Script},
    names, stack,
};
use crate::bindings::{Context, HostContext, Output};
use crate::engine::progress::{Progress, Reporter, Silent, Unit};
use crate::engine::{interrupt, rng};
use rhai::{AST, Dynamic, EvalAltResult, FnPtr, NativeCallContext, Scope};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How the name of a test file ends.
pub const SUFFIX: &str = "_test.rhai";
/// The seed of every test.
const SEED: u64 = 0;
/// The name under which a test's file sees what runs its functions.
const DRIVER: &str = "run_this_test";

/// How a test ended.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Status {
    /// It came to its end.
    Passed,
    /// It did not.
    Failed {
        /// Why.
        diagnostic: Box<Diagnostic>,
    },
    /// It left with `test::skip`.
    Skipped {
        /// The reason that it gave.
        reason: String,
    },
}

/// One test that was run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The file, as diagnostics name it.
    pub file: String,
    /// The function; `None` where the file itself is at fault.
    pub test: Option<String>,
    /// Where the function stands: its line, from 1.
    pub line: Option<usize>,
    /// How it ended.
    #[serde(flatten)]
    pub status: Status,
    /// Wall time, the top level and `setup` included.
    pub seconds: f64,
    /// What it printed, to standard output and as notes.
    pub output: String,
}

impl Outcome {
    /// `file::test`, which the command line takes back.
    pub fn id(&self) -> String {
        self.test.as_ref().map_or_else(|| self.file.clone(), |test| id(&self.file, test))
    }
}

/// `file::test`.
pub fn id(file: &str, test: &str) -> String {
    format!("{file}::{test}")
}

/// The test files below `folder`, sorted. Hidden folders, links to folders, and caches (`target/`) are left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let unreadable = |path: &Path, e: std::io::Error| {
        Box::new(Diagnostic::new("usage", format!("{} cannot be read: {e}", path.display())))
    };
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, e))? {
            let entry = entry.map_err(|e| unreadable(&folder, e))?;
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            // Not followed where it is a link: links can form circles.
            let kind = entry.file_type().map_err(|e| unreadable(&path, e))?;
            if kind.is_dir() {
                if !name.starts_with('.') && !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if name.ends_with(SUFFIX) && path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A function of a test file.
#[derive(Debug, Clone)]
struct Function {
    name: String,
    /// The name that it has for Rhai.
    own: String,
    params: usize,
    line: usize,
}

impl Function {
    fn call(&self, cx: &NativeCallContext, value: &Dynamic) -> Result<Dynamic, Box<EvalAltResult>> {
        let function = FnPtr::new(self.own.as_str())?;
        match self.params {
            0 => function.call_within_context(cx, ()),
            _ => function.call_within_context(cx, (value.clone(),)),
        }
    }
}

/// One test file, ready to run.
pub struct TestFile {
    name: String,
    host: Host,
    ctx: Context,
    output: Arc<Captured>,
    ast: AST,
    tests: Vec<Function>,
    setup: Option<Function>,
    teardown: Option<Function>,
}

impl TestFile {
    /// Compiles `script`. `ctx` is what its tests know of the host; what they print goes to `ctx.output` only if `shown`,
    /// and is kept in either case.
    ///
    /// # Errors
    /// Text that does not compile, or without a `fn test_*`.
    pub fn new(script: &Script, mut ctx: HostContext, shown: bool) -> Result<Self, Box<Diagnostic>> {
        let output = Arc::new(Captured { kept: Mutex::default(), shown: shown.then(|| ctx.output.clone()) });
        ctx.output = output.clone();
        let ctx = Arc::new(ctx);
        let host = Host::new(&ctx, script.folder.as_deref());
        let ast = host.compile(script)?;
        let function = |def: &rhai::ScriptFuncDef| Function {
            name: names::plain(&def.name).to_string(),
            own: def.name.to_string(),
            params: def.params.len(),
            line: def.body.start_position().line().unwrap_or(0),
        };
        let mut functions: Vec<Function> = ast.iter_fn_def().map(|def| function(def)).collect();
        // One that is mentioned otherwise, too, is there under both of its names.
        functions.sort_by(|a, b| (a.line, &a.name, b.own.len()).cmp(&(b.line, &b.name, a.own.len())));
        functions.dedup_by(|a, b| a.name == b.name && a.params == b.params);
        let named = |name: &str| functions.iter().find(|f| f.name == name).cloned();
        let (setup, teardown) = (named("setup"), named("teardown"));
        let tests: Vec<Function> = functions.iter().filter(|f| f.name.starts_with("test_")).cloned().collect();
        if tests.is_empty() {
            let mut diagnostic = Diagnostic::new("test", format!("{} has no test", script.name))
                .with_help("a test is a function whose name begins with `test_`");
            diagnostic.place = Some(Place { file: script.name.clone(), line: 1, column: 0 });
            return Err(Box::new(diagnostic));
        }
        Ok(TestFile { name: script.name.clone(), host, ctx, output, ast, tests, setup, teardown })
    }

    /// The tests in the order of the text: name and line.
    pub fn tests(&self) -> impl Iterator<Item = (&str, usize)> {
        self.tests.iter().map(|f| (f.name.as_str(), f.line))
    }

    /// Runs the test called `name`, one of [`TestFile::tests`].
    ///
    /// # Errors
    /// The interruption, if Ctrl-C was pressed meanwhile.
    pub fn run(&self, name: &str) -> Result<Outcome, Box<Diagnostic>> {
        let test = self.tests.iter().find(|f| f.name == name);
        let start = Instant::now();
        rng::seed(SEED);
        self.output.take();
        let result = match test {
            Some(test) => stack::catching(|| self.evaluate(test)).unwrap_or_else(|bug| Err(Box::new(bug.into()))),
            None => Err(Box::new(Diagnostic::new("test", format!("{} has no test `{name}`", self.name)))),
        };
        self.ctx.scratch.clear();
        let status = match result {
            Ok(()) => Status::Passed,
            Err(diagnostic) if diagnostic.is_interrupt() => return Err(diagnostic),
            Err(_) if interrupt::requested() => {
                return Err(Box::new(Diagnostic::from(&crate::engine::Error::Interrupted)));
            }
            Err(diagnostic) if diagnostic.code == "skip" => Status::Skipped { reason: diagnostic.message },
            Err(diagnostic) => Status::Failed { diagnostic },
        };
        Ok(Outcome {
            file: self.name.clone(),
            test: Some(name.to_string()),
            line: test.map(|t| t.line),
            status,
            seconds: start.elapsed().as_secs_f64(),
            output: self.output.take(),
        })
    }

    fn evaluate(&self, test: &Function) -> Result<(), Box<Diagnostic>> {
        self.check(test)?;
        let (setup, teardown, own) = (self.setup.clone(), self.teardown.clone(), test.clone());
        let run = move |cx: NativeCallContext, _: &mut [&mut Dynamic]| {
            let value = setup.as_ref().map_or(Ok(Dynamic::UNIT), |f| f.call(&cx, &Dynamic::UNIT))?;
            let ended = own.call(&cx, &value);
            let cleared = teardown.as_ref().map_or(Ok(Dynamic::UNIT), |f| f.call(&cx, &value));
            // A failed test is the news, not what then happens to its remains.
            ended.and(cleared).map(|_| Dynamic::UNIT)
        };
        // The functions are called by native code at the end of the top level, not by a call in its text: they then see
        // its imports and constants, as they do in a run, and their errors come back whole.
        #[allow(deprecated)] // "volatile", says Rhai; its version is pinned
        let driver = FnPtr::from_fn(DRIVER, run).map_err(|e| self.diagnose(&e, test))?;
        let mut scope = Scope::new();
        scope.push_constant(DRIVER, driver);
        let call = self.host.engine().compile(format!("{DRIVER}.call();"));
        let call = call.map_err(|e| self.diagnose(&EvalAltResult::from(e), test))?;
        let mut program = self.ast.merge(&call);
        program.set_source(self.name.as_str());
        let engine = self.host.engine();
        let result = self.host.within(&self.name, || engine.eval_ast_with_scope::<Dynamic>(&mut scope, &program));
        result.map(drop).map_err(|e| self.diagnose(&e, test))
    }

    /// A test that cannot be called is told so before anything runs.
    fn check(&self, test: &Function) -> Result<(), Box<Diagnostic>> {
        let wrong = match (test.params, &self.setup) {
            (0, _) | (1, Some(_)) => return Ok(()),
            (1, None) => format!("`{}` takes what `setup()` returns, and there is no `setup()`", test.name),
            (n, _) => format!("`{}` takes {n} parameters; a test takes none, or what `setup()` returns", test.name),
        };
        let place = Place { file: self.name.clone(), line: test.line, column: 0 };
        Err(Box::new(Diagnostic::new("test", wrong).at(Some(place), self.host.sources())))
    }

    fn diagnose(&self, err: &EvalAltResult, test: &Function) -> Box<Diagnostic> {
        let mut diagnostic = self.host.diagnose(err, &self.name, &Scope::new());
        // The outermost call is ours: it stands nowhere in the file. That it is in the test goes without saying.
        if diagnostic.frames.last().is_some_and(|f| f.what == format!("in `{}`", test.name)) {
            diagnostic.frames.pop();
        }
        let around = [self.setup.as_ref(), self.teardown.as_ref()];
        let around: Vec<String> = around.into_iter().flatten().map(|f| format!("in `{}`", f.name)).collect();
        if let Some(frame) = diagnostic.frames.last_mut()
            && around.contains(&frame.what)
        {
            (frame.called_at, frame.call) = (None, None);
        }
        // How std/test came to its verdict is no help with it.
        if diagnostic.code == "assertion" {
            diagnostic.frames.retain(|f| f.called_at.as_ref().is_none_or(|p| !p.file.starts_with("std/")));
        }
        Box::new(diagnostic)
    }
}

impl std::fmt::Debug for TestFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestFile").field("name", &self.name).field("tests", &self.tests).finish_non_exhaustive()
    }
}

/// Keeps what a test says, and passes it on if that was asked for. Progress is not shown.
struct Captured {
    kept: Mutex<String>,
    shown: Option<Arc<dyn Output>>,
}

impl Captured {
    fn take(&self) -> String {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, text: &str, end: &str, pass: impl FnOnce(&dyn Output)) {
        let mut kept = self.lock();
        kept.push_str(text);
        kept.push_str(end);
        drop(kept);
        if let Some(output) = &self.shown {
            pass(&**output);
        }
    }
}

impl Reporter for Captured {
    fn start(&self, _: u64, _: &str, _: Unit) -> Box<dyn Progress> {
        Box::new(Silent)
    }
}

impl Output for Captured {
    fn line(&self, text: &str) {
        self.add(text, "\n", |output| output.line(text));
    }

    fn text(&self, text: &str) {
        self.add(text, "", |output| output.text(text));
    }

    fn note(&self, text: &str) {
        self.add(text, "\n", |output| output.note(text));
    }
}
