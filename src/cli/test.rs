//! `host test`: the tests of scripts, run one by one.

use super::{Exit, fail, printer::Printer, run::settle, signals};
use crate::bindings::{HostContext, Output};
use crate::script::{
    Diagnostic, Script,
    options::{Declared, HostFlags},
    recipes,
    render::{COLUMNS, render},
    sandbox,
    tester::{self, Outcome, Status, TestFile},
};
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Run the tests of scripts: every `fn test_*` of `*_test.rhai`
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all passed, 1 some failed, 2 wrong usage or nothing to run, 130 interrupted.")]
pub(super) struct Args {
    /// Files, folders, or one test as FILE::NAME [default: the working directory]
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    /// Run the tests whose FILE::NAME contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Stop at the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Show what tests print as they print it, not only that of failed ones
    #[arg(long)]
    nocapture: bool,
    /// List the tests and run none
    #[arg(long)]
    list: bool,
    /// One JSON object per line: each test, then a summary
    #[arg(long)]
    json: bool,
    /// Where tensors and models go: cpu, cuda, cuda:N
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Threads for native work [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    #[command(flatten)]
    sandbox: super::sandbox::Flags,
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    let ran = targets(&args.paths).and_then(|targets| {
        let flags = HostFlags {
            device: args.device,
            threads: args.threads.map(usize::from),
            sandbox: args.sandbox.flags()?,
            ..HostFlags::default()
        };
        // Once for all files: time limits count from here.
        let mut base = HostContext::new(printer.clone());
        settle(&mut base, &flags, printer)?;
        let how = How {
            filter: args.filter,
            fail_fast: args.fail_fast,
            nocapture: args.nocapture && !args.json,
            list: args.list,
            json: args.json,
            flags,
            base,
        };
        Suite::new(how, printer).run(&targets)
    });
    ran.unwrap_or_else(|diagnostic| fail(printer, &diagnostic))
}

/// The command line, resolved.
struct How {
    filter: Option<String>,
    fail_fast: bool,
    nocapture: bool,
    list: bool,
    json: bool,
    flags: HostFlags,
    /// What every file's tests know of the host.
    base: HostContext,
}

/// A file, and the one test of it that was asked for.
struct Target {
    script: Script,
    only: Option<String>,
}

fn targets(paths: &[String]) -> Result<Vec<Target>, Box<Diagnostic>> {
    let here = [".".to_string()];
    let mut targets = Vec::new();
    let read = |path: &str| recipes::find(path).map(|found| found.script);
    for path in if paths.is_empty() { &here } else { paths } {
        let (file, only) = match path.rsplit_once("::") {
            Some((file, test)) if !Path::new(path).exists() => (file, Some(test.to_string())),
            _ => (path.as_str(), None),
        };
        if !Path::new(file).is_dir() {
            if !Path::new(file).exists() {
                return Err(usage(format!("there is no file or folder {file}")));
            }
            targets.push(Target { script: read(file)?, only });
            continue;
        }
        let files = tester::files(Path::new(file))?;
        if files.is_empty() {
            let text = format!("no test below {}", Path::new(file).canonicalize().unwrap_or_default().display());
            return Err(Box::new(Diagnostic::new("usage", text).with_help("tests are in files named *_test.rhai")));
        }
        for file in files {
            targets.push(Target { script: read(&file.to_string_lossy())?, only: only.clone() });
        }
    }
    Ok(targets)
}

fn usage(text: String) -> Box<Diagnostic> {
    Box::new(Diagnostic::new("usage", text))
}

/// The tests of one command, and how they went so far.
struct Suite<'a> {
    how: How,
    printer: &'a Arc<Printer>,
    color: bool,
    /// The file whose name was printed last.
    shown: String,
    passed: usize,
    skipped: usize,
    failures: Vec<Outcome>,
}

impl<'a> Suite<'a> {
    fn new(how: How, printer: &'a Arc<Printer>) -> Self {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Suite { how, printer, color, shown: String::new(), passed: 0, skipped: 0, failures: Vec::new() }
    }

    fn run(mut self, targets: &[Target]) -> Result<Exit, Box<Diagnostic>> {
        signals::install(self.printer, signals::Insisting::Leaves);
        let start = Instant::now();
        let mut matched = 0;
        let mut ended = Ok(());
        for target in targets {
            ended = self.file(target, &mut matched);
            if ended.is_err() || self.enough() {
                break;
            }
        }
        if let Err(diagnostic) = &ended
            && !diagnostic.is_interrupt()
        {
            return Err(diagnostic.clone());
        }
        if matched == 0 && ended.is_ok() && self.failures.is_empty() {
            let text = match &self.how.filter {
                Some(filter) => format!("no test's name contains `{filter}`"),
                None => "there is no such test".into(),
            };
            return Err(Box::new(Diagnostic::new("usage", text).with_help("`host test --list` lists them")));
        }
        if !self.how.list {
            self.close(start.elapsed().as_secs_f64(), ended.is_err());
        }
        Ok(match ended {
            Err(diagnostic) => fail(self.printer, &diagnostic),
            Ok(()) if self.failures.is_empty() => Exit::Success,
            Ok(()) => Exit::Failed,
        })
    }

    fn enough(&self) -> bool {
        let out_of_time =
            |o: &Outcome| matches!(&o.status, Status::Failed { diagnostic } if diagnostic.code == "timeout");
        self.failures.last().is_some_and(|last| self.how.fail_fast || out_of_time(last))
    }

    /// Runs the chosen tests of one file; `matched` counts them.
    fn file(&mut self, target: &Target, matched: &mut usize) -> Result<(), Box<Diagnostic>> {
        let name = &target.script.name;
        let file = match self.open(&target.script) {
            Ok(file) => file,
            Err(diagnostic) if diagnostic.code == "usage" => return Err(diagnostic),
            Err(diagnostic) => {
                let status = Status::Failed { diagnostic };
                let (output, seconds) = (String::new(), 0.0);
                self.take(Outcome { file: name.clone(), test: None, line: None, status, seconds, output });
                return Ok(());
            }
        };
        let wanted = |test: &str| {
            let id = tester::id(name, test);
            target.only.as_ref().is_none_or(|only| only == test)
                && self.how.filter.as_ref().is_none_or(|filter| id.contains(filter.as_str()))
        };
        let chosen: Vec<_> = file.tests().filter(|(test, _)| wanted(test)).collect();
        *matched += chosen.len();
        for (test, line) in chosen {
            if self.how.list {
                self.list(name, test, line);
                continue;
            }
            let outcome = file.run(test)?;
            self.take(outcome);
            if self.enough() {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, script: &Script) -> Result<TestFile, Box<Diagnostic>> {
        let given = Declared::read(script)?.parse(&[], self.how.flags.clone())?;
        let mut ctx = HostContext::new(self.printer.clone());
        ctx.device = self.how.base.device.clone();
        ctx.max_ops = self.how.base.max_ops;
        ctx.access = sandbox::access(&given);
        ctx.options = given.options;
        TestFile::new(script, ctx, self.how.nocapture)
    }

    fn list(&self, file: &str, test: &str, line: usize) {
        let text = match self.how.json {
            true => json!({ "event": "test", "file": file, "test": test, "line": line }).to_string(),
            false => tester::id(file, test),
        };
        self.printer.line(&text);
    }

    /// Counts and shows one result.
    fn take(&mut self, outcome: Outcome) {
        if self.how.json {
            let mut line = json!({ "event": "result" });
            if let (Some(line), Ok(serde_json::Value::Object(fields))) =
                (line.as_object_mut(), serde_json::to_value(&outcome))
            {
                line.extend(fields);
            }
            self.printer.line(&line.to_string());
        } else {
            self.show(&outcome);
        }
        match outcome.status {
            Status::Passed => self.passed += 1,
            Status::Skipped { .. } => self.skipped += 1,
            Status::Failed { .. } => self.failures.push(outcome),
        }
    }

    fn show(&mut self, outcome: &Outcome) {
        if self.shown != outcome.file {
            self.printer.line(&outcome.file);
            self.shown.clone_from(&outcome.file);
        }
        let test = outcome.test.as_deref().unwrap_or("(the file itself)");
        let (label, of) = match &outcome.status {
            Status::Passed => ("ok  ", GREEN),
            Status::Failed { .. } => ("FAIL", RED),
            Status::Skipped { .. } => ("skip", YELLOW),
        };
        let behind = match &outcome.status {
            Status::Skipped { reason } => reason.clone(),
            _ => time(outcome.seconds),
        };
        self.printer.line(&format!("  {} {test:40} {behind}", self.paint(of, label)));
    }

    /// The failures in full, and the summary.
    fn close(&self, seconds: f64, interrupted: bool) {
        let (passed, failed, skipped) = (self.passed, self.failures.len(), self.skipped);
        if self.how.json {
            let line = json!({
                "event": "summary", "passed": passed, "failed": failed, "skipped": skipped, "seconds": seconds,
                "interrupted": interrupted,
            });
            return self.printer.line(&line.to_string());
        }
        let mut before: Option<(&Diagnostic, String)> = None;
        for outcome in &self.failures {
            let Status::Failed { diagnostic } = &outcome.status else { continue };
            self.printer.line(&format!("\n{} {}", self.paint(RED, "FAIL"), self.paint(BOLD, &outcome.id())));
            // A file whose top level fails takes all its tests with it.
            match &before {
                Some((same, of)) if *same == &**diagnostic => self.printer.line(&format!("as {of}")),
                _ => {
                    self.printer.line(&render(diagnostic, self.color, COLUMNS));
                    before = Some((diagnostic, outcome.id()));
                }
            }
            if !outcome.output.is_empty() && !self.how.nocapture {
                self.printer.line("it printed:");
                outcome.output.lines().for_each(|line| self.printer.line(&format!("  {line}")));
            }
        }
        self.printer.line(&format!("\n{} in {}", counted(passed + failed + skipped), time(seconds)));
        let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        self.printer.line(&format!("{passed} passed, {failed} failed{skipped}"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

const RED: &str = "1;31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const BOLD: &str = "1";

fn counted(tests: usize) -> String {
    if tests == 1 { "1 test".into() } else { format!("{tests} tests") }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.2} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}
