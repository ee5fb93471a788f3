//! `host types`: definitions and metadata for editors.

use super::{Exit, doc, printer::Printer};
use crate::bindings::HostContext;
use crate::script::{Host, reference};
use std::path::PathBuf;
use std::sync::Arc;

/// Write definitions for editors into a folder: .d.rhai files with documentation, and catalog.json
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder; made if missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    let host = Host::new(&Arc::new(HostContext::new(printer.clone())), None);
    doc::write(&args.dir, &reference::definitions(host.catalog()), printer)
}
