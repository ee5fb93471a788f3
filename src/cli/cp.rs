//! `host cp`: a recipe of one's own, from one that exists.

use super::{Exit, fail, printer::Printer};
use crate::bindings::Output;
use crate::script::recipes;
use std::path::PathBuf;

/// Copy a recipe to change it: `host cp finetune my_finetune.rhai`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A built-in recipe, or any other that `host run` takes
    recipe: String,
    /// Where to [default: its own name, here]
    dest: Option<PathBuf>,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let copied = match recipes::copy(&args.recipe, args.dest.as_deref(), args.force) {
        Ok(copied) => copied,
        Err(diagnostic) => return fail(printer, &diagnostic),
    };
    let to = copied.to.display().to_string();
    // A bare name would be taken for a recipe's.
    let run = if copied.to.is_dir() && copied.to.components().count() == 1 { format!("./{to}") } else { to.clone() };
    printer.line(&match copied.files {
        1 => format!("copied {} to {to}", args.recipe),
        n => format!("copied {} to {to}: {n} files", args.recipe),
    });
    if copied.named {
        printer.line(&format!("give it a name and a version of its own in {to}/recipe.toml"));
    }
    printer.line(&format!("next: change it, then `host run {run}`; `host run {run} --help` shows its options"));
    Exit::Success
}
