//! `host run`: a script, a recipe's folder or pack, or a recipe by its name.

use super::{Exit, fail, printer::Printer, signals};
use crate::bindings::{HostContext, Output};
use crate::engine::device;
use crate::script::{
    Diagnostic, Host,
    options::HostFlags,
    recipes::{self, Found},
    sandbox,
};
use std::sync::Arc;

/// Run a script: `host run train.rhai --lr 3e-4`; `host run train.rhai --help` shows the script's own options
#[derive(Debug, clap::Args)]
#[command(after_help = "The host's options may also stand after the script. Exit codes: 0 done, 1 the script failed, \
                        2 wrong usage, 130 interrupted. HOST_PROGRESS_SECONDS sets the time between progress \
                        lines when standard error is no terminal [default: 5].")]
pub(super) struct Args {
    /// Where tensors and models go: cpu, cuda, cuda:N
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Continue the saved run instead of starting anew
    #[arg(long)]
    resume: bool,
    /// No progress and no notes
    #[arg(long)]
    quiet: bool,
    /// Threads for native work [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    #[command(flatten)]
    sandbox: super::sandbox::Flags,
    /// A file, a recipe's folder or pack, or the name of a recipe (`host ls`); then its own options
    #[arg(trailing_var_arg = true, required = true, value_names = ["SCRIPT", "OPTIONS"], num_args = 1..)]
    script: Vec<String>,
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    match prepare(args, printer) {
        Ok(Some((host, found))) => match host.run(&found.script) {
            Ok(()) => Exit::Success,
            Err(diagnostic) => fail(printer, &diagnostic),
        },
        Ok(None) => Exit::Success,
        Err(diagnostic) => fail(printer, &diagnostic),
    }
}

/// A host with the script's options, or `None` if help was asked for and given.
fn prepare(args: Args, printer: &Arc<Printer>) -> Result<Option<(Host, Found)>, Box<Diagnostic>> {
    let (name, rest) = args.script.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let found = recipes::find(name)?;
    let declared = found.declared()?;
    let flags = HostFlags {
        device: args.device,
        resume: args.resume,
        quiet: args.quiet,
        threads: args.threads.map(usize::from),
        sandbox: args.sandbox.flags()?,
    };
    let given = declared.parse(rest, flags)?;
    if given.help {
        printer.line(&declared.help(name));
        return Ok(None);
    }
    let mut ctx = HostContext::new(printer.clone());
    ctx.access = sandbox::access(&given);
    ctx.options = given.options;
    ctx.args = given.args;
    settle(&mut ctx, &given.host, printer)?;
    signals::install(printer, signals::Insisting::Leaves);
    Ok(Some((Host::new(&Arc::new(ctx), found.folder.as_deref()), found)))
}

/// Puts the host's own settings into effect.
pub(super) fn settle(ctx: &mut HostContext, flags: &HostFlags, printer: &Arc<Printer>) -> Result<(), Box<Diagnostic>> {
    printer.set_quiet(flags.quiet);
    if let Some(threads) = flags.threads {
        set_threads(threads);
    }
    super::limits::start(&flags.sandbox, printer);
    ctx.max_ops = flags.sandbox.max_ops.unwrap_or(0);
    ctx.resuming = flags.resume;
    ctx.device = device::parse(flags.device.as_deref().unwrap_or("cpu")).map_err(|e| usage(&e))?;
    Ok(())
}

fn usage(err: &crate::engine::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic { code: "usage".into(), ..Diagnostic::from(err) })
}

/// Sets the number of threads of every native loop: rayon's pool, and the environment that candle reads.
fn set_threads(threads: usize) {
    // SAFETY: the only other thread at this point is the main one, which waits for this one and reads no environment.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    // An error says that the pool exists already: then the environment was read before us and stands.
    drop(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global());
}
