//! `host doc`: the reference, in the terminal, as HTML, as Markdown.

use super::{Exit, fail, printer::Printer};
use crate::bindings::{HostContext, Output};
use crate::script::reference::{self, Found, Style};
use crate::script::{Diagnostic, Host};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Columns of text that are still read with ease.
const COLUMNS: usize = 110;

/// Show what scripts can name: `host doc adamw`, `host doc Tensor.sum`, `host doc nn`, `host doc std/log`
#[derive(Debug, clap::Args)]
#[command(after_help = "Without a name: all there is, by topic.")]
pub(super) struct Args {
    /// A function, method, property, operator, type, module or topic
    name: Option<String>,
    /// Write the reference as HTML with search into this folder
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
    /// Write the reference as Markdown into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "html")]
    markdown: Option<PathBuf>,
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    let host = Host::new(&Arc::new(HostContext::new(printer.clone())), None);
    let catalog = host.catalog();
    let pages = match (&args.html, &args.markdown) {
        (Some(dir), _) => Some((dir, reference::html(catalog))),
        (_, Some(dir)) => Some((dir, reference::markdown(catalog))),
        _ => None,
    };
    if let Some((dir, files)) = pages {
        if args.name.is_some() {
            let d = Diagnostic::new("usage", "pages are written of everything: leave the name out");
            return fail(printer, &d);
        }
        return write(dir, &files, printer);
    }
    let screen = printer.screen();
    let style = Style { color: screen.color, width: screen.width.min(COLUMNS) };
    match args.name.as_deref() {
        None => printer.line(&reference::render_list(catalog, style)),
        Some(name) => match reference::lookup(catalog, name) {
            Found::Nothing(near) => {
                let d = Diagnostic::new("usage", format!("nothing is called `{name}`"));
                return fail(
                    printer,
                    &d.with_help(match near.as_slice() {
                        [] => "`host doc` lists all there is".into(),
                        near => format!("near: {}", near.join(", ")),
                    }),
                );
            }
            found => printer.line(&reference::render(&found, name, style)),
        },
    }
    Exit::Success
}

/// Writes `files` into the folder `dir`, which is made if missing.
pub(super) fn write(dir: &Path, files: &[(String, String)], printer: &Printer) -> Exit {
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| files.iter().try_for_each(|(name, text)| std::fs::write(dir.join(name), text)));
    match written {
        Ok(()) => {
            printer.line(&format!("{} files in {}", files.len(), dir.display()));
            Exit::Success
        }
        Err(e) => fail(printer, &Diagnostic::new("io", format!("{} cannot be written: {e}", dir.display()))),
    }
}
