//! `host repl`: the interactive session.

use super::{Exit, fail, printer::Printer, reporter, run::settle, signals};
use crate::bindings::{Access, HostContext, Output};
use crate::repl::{Ended, Session};
use crate::script::{Diagnostic, options::HostFlags, recipes};
use std::sync::Arc;

/// Start an interactive session, after running a script in it if one is given
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where tensors and models go: cpu, cuda, cuda:N
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// A file, a folder, or a built-in recipe to run first; then its own options
    #[arg(trailing_var_arg = true, value_names = ["SCRIPT", "OPTIONS"], num_args = 0..)]
    script: Vec<String>,
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    match start(args, printer) {
        Ok(Ended::Well) => Exit::Success,
        Ok(Ended::Failed) => Exit::Failed,
        Ok(Ended::Interrupted) => Exit::Interrupted,
        Err(diagnostic) => fail(printer, &diagnostic),
    }
}

fn start(args: Args, printer: &Arc<Printer>) -> Result<Ended, Box<Diagnostic>> {
    let mut flags = HostFlags { device: args.device, ..HostFlags::default() };
    let mut ctx = HostContext::new(printer.clone());
    // Whoever types here sees what is run.
    ctx.access = Access::everything();
    let first = args.script.first().map(|name| recipes::find(name)).transpose()?;
    if let Some(found) = &first {
        let declared = found.declared()?;
        let given = declared.parse(&args.script[1..], flags)?;
        if given.help {
            printer.line(&declared.help(&args.script[0]));
            return Ok(Ended::Well);
        }
        if given.host.watch {
            let help = "change it and `:load` it again, or `host run --watch` it";
            return Err(Box::new(Diagnostic::new("usage", "a session does not watch its script").with_help(help)));
        }
        ctx.folder.clone_from(&found.folder);
        ctx.options = given.options;
        ctx.args = given.args;
        flags = given.host;
    }
    settle(&mut ctx, &flags, printer)?;
    ctx.pausable = true;
    signals::install(printer, signals::Insisting::Waits);
    Ok(Session::new(Arc::new(ctx), reporter(printer)).run(first.as_ref().map(|f| f.script.clone())))
}
