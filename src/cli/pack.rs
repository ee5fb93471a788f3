//! `host pack`: a recipe's folder as one file.

use super::{Exit, fail, printer::Printer};
use crate::bindings::Output;
use crate::script::recipes;
use std::path::PathBuf;

/// Make one file of a recipe's folder, for `host run` anywhere
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Hidden files, runs/ and packs are left out. The same files give the same bytes. Exit codes: 0 packed, 2 \
                        something in the folder is wrong."
)]
pub(super) struct Args {
    /// The folder, with a recipe.toml
    folder: PathBuf,
    /// The pack [default: NAME-VERSION.tar.zst, here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub(super) fn run(args: &Args, printer: &Printer) -> Exit {
    let packed = match recipes::pack(&args.folder, args.output.as_deref()) {
        Ok(packed) => packed,
        Err(diagnostic) => {
            fail(printer, &diagnostic);
            return Exit::Usage;
        }
    };
    let width = packed.files.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    for (path, bytes) in &packed.files {
        printer.line(&format!("  {path:width$}  {:>9}", size(*bytes)));
    }
    if !packed.left_out.is_empty() {
        printer.line(&format!("left out: {}", packed.left_out.join(", ")));
    }
    let total: u64 = packed.files.iter().map(|(_, bytes)| bytes).sum();
    let file = packed.file.display();
    let files = if packed.files.len() == 1 { "1 file".into() } else { format!("{} files", packed.files.len()) };
    printer.line(&format!("{file}: {files}, {}, packed {}", size(total), size(packed.bytes)));
    printer.line(&format!("next: `host run {file}`, here or on any machine"));
    Exit::Success
}

/// `612 B`, `1.5 KiB`, `3.0 MiB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
