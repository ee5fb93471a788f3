//! Command line: one file per verb. Parses, hands plain options to the verb, turns its answer into an exit code.

mod bars;
mod completions;
mod cp;
mod check;
mod dashboard;
mod data;
mod doc;
mod doctor;
mod limits;
mod ls;
mod new;
mod pack;
mod plan;
mod printer;
mod repl;
mod run;
mod runs;
mod sandbox;
mod signals;
mod test;
mod types;
mod watch;
mod worker;

use crate::engine::memory;
use crate::repl::Report;
use crate::script::{
    Diagnostic,
    render::{self, render},
    stack,
};
use clap::{Parser, Subcommand};
use printer::Printer;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

/// Fine-tune LLaMA-family models with LoRA from Rhai scripts.
#[derive(Debug, Parser)]
#[command(name = "host", version, long_version = doctor::version(), arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Runs(runs::Args),
    Repl(repl::Args),
    Test(test::Args),
    Doc(doc::Args),
    Types(types::Args),
    Ls(ls::Args),
    Cp(cp::Args),
    New(new::Args),
    Pack(pack::Args),
    Data(data::Args),
    Plan(plan::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Check(check::Args),
}

/// How a verb ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Success,
    /// The script failed.
    Failed,
    /// The command line, or a check, is wrong.
    Usage,
    /// Ctrl-C.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Interrupted => 130,
        })
    }
}

/// The whole program: parses the process's arguments and runs the verb on the script thread.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // A closed pipe behind `--help` is nobody's error.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let printer = Arc::new(Printer::new());
    stack::keep_panics();
    memory::keep_freed();
    limits::end_aborts_as_errors();
    let done = stack::with_deep_stack(|| match cli.verb {
        Verb::Run(args) => run::run(args, &printer),
        Verb::Runs(args) => runs::run(&args, &printer),
        Verb::Repl(args) => repl::run(args, &printer),
        Verb::Test(args) => test::run(args, &printer),
        Verb::Doc(args) => doc::run(args, &printer),
        Verb::Types(args) => types::run(args, &printer),
        Verb::Ls(args) => ls::run(&args, &printer),
        Verb::Cp(args) => cp::run(&args, &printer),
        Verb::New(args) => new::run(&args, &printer),
        Verb::Pack(args) => pack::run(&args, &printer),
        Verb::Data(args) => data::run(&args, &printer),
        Verb::Plan(args) => plan::run(&args, &printer),
        Verb::Doctor(args) => doctor::run(&args, &printer),
        Verb::Completions(args) => completions::run(&args, &printer),
        Verb::Check(args) => check::run(&args, &printer),
    });
    printer.flush();
    match done {
        // Whoever read our output has had enough, like `head`.
        _ if printer.closed() => ExitCode::SUCCESS,
        Ok(exit) => exit.into(),
        Err(bug) => {
            report(&printer, &bug.into());
            ExitCode::FAILURE
        }
    }
}

/// Shows `diagnostic` on standard error.
fn report(printer: &Printer, diagnostic: &Diagnostic) {
    let terminal = std::io::stderr().is_terminal();
    let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    // The terminal has echoed `^C` on this line.
    let lead = if terminal && diagnostic.is_interrupt() { "\n" } else { "" };
    let size = if terminal { terminal_size::terminal_size_of(std::io::stderr()) } else { None };
    let columns = size.map_or(render::COLUMNS, |(width, _)| usize::from(width.0));
    printer.error(&format!("{lead}{}", render(diagnostic, color, columns)));
}

/// [`report`] for those who outlive this call.
fn reporter(printer: &Arc<Printer>) -> Report {
    let printer = printer.clone();
    Arc::new(move |diagnostic| report(&printer, diagnostic))
}

/// Shows what ended a script, and says how the process ends.
fn fail(printer: &Printer, diagnostic: &Diagnostic) -> Exit {
    // The interruption was our own doing when nobody reads any more.
    if !printer.closed() {
        report(printer, diagnostic);
    }
    match diagnostic.code.as_str() {
        _ if diagnostic.is_interrupt() => Exit::Interrupted,
        "usage" | "recipe" => Exit::Usage,
        _ => Exit::Failed,
    }
}
