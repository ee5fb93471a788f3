//! `host new`: a recipe's folder with everything in it.

use super::{Exit, fail, printer::Printer};
use crate::bindings::Output;
use crate::script::recipes;
use std::path::PathBuf;

/// Make a recipe's folder: manifest, script, module, test, README
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; its last part is the recipe's name
    name: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let created = match recipes::create(&args.name) {
        Ok(created) => created,
        Err(diagnostic) => return fail(printer, &diagnostic),
    };
    let folder = created.folder.display().to_string();
    let path = if args.name.components().count() == 1 { format!("./{folder}") } else { folder.clone() };
    printer.line(&format!("made {folder}/ with {}", created.files.join(", ")));
    printer.line("next:");
    for (command, why) in [
        ("check", "finds mistakes without running anything"),
        ("test", "runs its tests"),
        ("run", "trains for some seconds"),
        ("pack", "makes one file of it, to hand on"),
    ] {
        printer.line(&format!("  host {command:5} {path}   {why}"));
    }
    Exit::Success
}
