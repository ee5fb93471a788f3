//! `host runs`: the runs that were made, how they went, and how they differ.

use super::{Exit, fail, printer::Printer};
use crate::bindings::Output;
use crate::engine::run::compare::{self, Comparison};
use crate::engine::run::open::{self, Opened};
use crate::engine::{Error, Result};
use crate::script::Diagnostic;
use std::path::{Path, PathBuf};

/// List and compare runs: state, losses, speed, memory, settings that differ, curves
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A run is named by its directory, or by its name below --root. Losses are in nats per label token."
)]
pub(super) struct Args {
    /// Where runs lie
    #[arg(long, value_name = "DIR", default_value = "runs", global = true, value_hint = clap::ValueHint::DirPath)]
    root: PathBuf,
    /// As JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// One run: its figures, settings and curve
    Show {
        /// The run
        run: String,
    },
    /// Two runs: the settings that differ, and the figures of both
    Diff {
        /// The first run
        a: String,
        /// The second run
        b: String,
    },
    /// Any number of runs side by side; --html draws their curves over each other
    Compare {
        /// The runs
        #[arg(required = true)]
        runs: Vec<String>,
        /// A page with table and curves, in one file that opens offline
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        html: Option<PathBuf>,
    },
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    match text(args, printer) {
        Ok(text) => {
            printer.line(&text);
            Exit::Success
        }
        Err(e) => {
            fail(printer, &Diagnostic::from(&e));
            Exit::Usage
        }
    }
}

fn text(args: &Args, printer: &Printer) -> Result<String> {
    let width = printer.screen().width;
    match &args.what {
        None => {
            let runs = open::list(&args.root);
            if args.json {
                return Ok(compare::list_json(&runs));
            }
            Ok(match compare::list_text(&runs, &args.root, width) {
                text if text.is_empty() => format!("no runs in {}", args.root.display()),
                text => text,
            })
        }
        Some(What::Show { run }) => {
            let opened = named(&args.root, run)?;
            Ok(if args.json { compare::show_json(&opened) } else { compare::show_text(&opened, width) })
        }
        Some(What::Diff { a, b }) => both(args, &[a.clone(), b.clone()], None),
        Some(What::Compare { runs, html }) => both(args, runs, html.as_deref()),
    }
}

fn both(args: &Args, names: &[String], html: Option<&Path>) -> Result<String> {
    let runs: Vec<Opened> = names.iter().map(|name| named(&args.root, name)).collect::<Result<_>>()?;
    let comparison = Comparison::new(&runs);
    let mut text = if args.json { comparison.json() } else { comparison.text() };
    if let Some(path) = html {
        comparison.write_html(path)?;
        if !args.json {
            text += &format!("\n\nwrote {}", path.display());
        }
    }
    Ok(text)
}

/// The run in the directory `name`, or of that name below `root`.
fn named(root: &Path, name: &str) -> Result<Opened> {
    let below = root.join(name);
    let dir = if Path::new(name).is_dir() || !below.is_dir() { PathBuf::from(name) } else { below };
    if !dir.is_dir() {
        let below = |dir: &PathBuf| dir.strip_prefix(root).unwrap_or(dir).display().to_string();
        let known: Vec<String> = open::dirs(root).iter().map(below).collect();
        if known.is_empty() {
            let help = format!("there are no runs in {}; --root names another place", root.display());
            return Err(Error::config_help(format!("there is no run `{name}`"), help));
        }
        return Err(crate::engine::error::unknown_name("run", name, known.iter().map(String::as_str)));
    }
    Opened::read(&dir)
}
