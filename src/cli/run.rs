//! `host run`: a script, a recipe's folder, or a recipe inside the binary.

use super::{Exit, fail, printer::Printer, signals};
use crate::bindings::{HostContext, Output};
use crate::engine::{device, error::unknown_name};
use crate::script::{
    Diagnostic, Host, Script, embedded,
    options::{Declared, HostFlags},
    sources::display_name,
};
use std::path::{Path, PathBuf};
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
    /// A file, a folder with a script of its name or main.rhai, or a built-in recipe; then its own options
    #[arg(trailing_var_arg = true, required = true, value_names = ["SCRIPT", "OPTIONS"], num_args = 1..)]
    script: Vec<String>,
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    match prepare(args, printer) {
        Ok(Some((host, script))) => match host.run(&script) {
            Ok(()) => Exit::Success,
            Err(diagnostic) => fail(printer, &diagnostic),
        },
        Ok(None) => Exit::Success,
        Err(diagnostic) => fail(printer, &diagnostic),
    }
}

/// A host with the script's options, or `None` if help was asked for and given.
fn prepare(args: Args, printer: &Arc<Printer>) -> Result<Option<(Host, Script)>, Box<Diagnostic>> {
    let (name, rest) = args.script.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let script = find(name)?;
    let declared = Declared::read(&script)?;
    let flags = HostFlags {
        device: args.device,
        resume: args.resume,
        quiet: args.quiet,
        threads: args.threads.map(usize::from),
    };
    let given = declared.parse(rest, flags)?;
    if given.help {
        printer.line(&declared.help(name));
        return Ok(None);
    }
    let mut ctx = HostContext::new(printer.clone());
    ctx.options = given.options;
    ctx.args = given.args;
    settle(&mut ctx, &given.host, printer)?;
    signals::install(printer, signals::Insisting::Leaves);
    Ok(Some((Host::new(&Arc::new(ctx), script.folder.as_deref()), script)))
}

/// Puts the host's own settings into effect.
pub(super) fn settle(ctx: &mut HostContext, flags: &HostFlags, printer: &Printer) -> Result<(), Box<Diagnostic>> {
    printer.set_quiet(flags.quiet);
    if let Some(threads) = flags.threads {
        set_threads(threads);
    }
    ctx.resuming = flags.resume;
    ctx.device = device::parse(flags.device.as_deref().unwrap_or("cpu")).map_err(|e| usage(&e))?;
    Ok(())
}

fn usage(err: &crate::engine::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic { code: "usage".into(), ..Diagnostic::from(err) })
}

/// The script called `name` on the command line: a file or folder wins over a recipe inside the binary.
pub(super) fn find(name: &str) -> Result<Script, Box<Diagnostic>> {
    let path = Path::new(name);
    if path.is_dir() {
        let own = path.canonicalize().ok().and_then(|p| Some(format!("{}.rhai", p.file_name()?.to_str()?)));
        let entries = own.into_iter().chain(["main.rhai".into()]).map(|f| path.join(f));
        let tried: Vec<PathBuf> = entries.collect();
        if let Some(found) = tried.iter().find(|p| p.is_file()) {
            return read(found);
        }
        if embedded::recipe(name).is_none() {
            let tried: Vec<_> = tried.iter().map(|p| p.display().to_string()).collect();
            let text = format!("`{name}` is a folder without a script to run");
            let help = format!("looked for {}", tried.join(" and "));
            return Err(Box::new(Diagnostic::new("usage", text).with_help(help)));
        }
    } else if path.exists() {
        return read(path);
    }
    if let Some(text) = embedded::recipe(name) {
        return Ok(Script { name: format!("{name}.rhai"), text: text.into(), folder: None });
    }
    if path.extension().is_some() || name.contains(std::path::MAIN_SEPARATOR) {
        return Err(Box::new(Diagnostic::new("usage", format!("there is no script {name}"))));
    }
    Err(usage(&unknown_name("script or recipe", name, embedded::RECIPES.iter().map(|(name, _)| *name))))
}

fn read(path: &Path) -> Result<Script, Box<Diagnostic>> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Box::new(Diagnostic::new("usage", format!("{} cannot be read: {e}", path.display()))))?;
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    Ok(Script { name: display_name(&real), text, folder: real.parent().map(Path::to_path_buf) })
}

/// Sets the number of threads of every native loop: rayon's pool, and the environment that candle reads.
fn set_threads(threads: usize) {
    // SAFETY: the only other thread at this point is the main one, which waits for this one and reads no environment.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    // An error says that the pool exists already: then the environment was read before us and stands.
    drop(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global());
}
