//! `host run`: a script, a recipe's folder or pack, or a recipe by its name.

use super::dashboard::Dashboard;
use super::{Exit, check, fail, printer::Printer, reporter, signals, watch, worker};
use crate::bindings::{Access, HostContext, Output};
use crate::engine::workers::{Launcher, Order};
use crate::engine::{device, pause, profile};
use crate::repl::PausePrompt;
use crate::script::{
    Diagnostic, Host,
    options::{Given, HostFlags, unknown_host_flag},
    recipes::{self, Found, Origin},
    sandbox,
    settings::{self, RunBy},
};
use std::path::PathBuf;
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
    /// Run without looking for mistakes first
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    sandbox: super::sandbox::Flags,
    /// Curve, speed, memory and output on one screen while it runs; lines as ever where there is no terminal
    #[arg(long)]
    dashboard: bool,
    /// Time of native work by operation, shown at the end; with =FILE also a trace for <https://ui.perfetto.dev>
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    #[arg(value_hint = clap::ValueHint::FilePath)]
    profile: Option<String>,
    /// Ctrl-C and `breakpoint()` pause the script and open a prompt in its scope
    #[arg(short, long)]
    interactive: bool,
    /// Pause where a loss, a gradient norm or a logged number is NaN or infinite; implies -i
    #[arg(long, value_name = "WHAT", value_parser = ["nan"])]
    break_on: Option<String>,
    /// Options from a TOML or JSON file; a run's settings.toml names its script too
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Vec<String>,
    /// One option of the script, or one key inside a map option: --set lora.rank=8
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Run again when the script, a module or a file it was given changes
    #[arg(long)]
    watch: bool,
    /// Run this text and print its value
    #[arg(short, long, value_name = "TEXT")]
    eval: Option<String>,
    /// A file, a recipe's folder or pack, the name of a recipe (`host ls`), or `-`; then its own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_names = ["SCRIPT", "OPTIONS"], num_args = 1..)]
    #[arg(required_unless_present_any = ["eval", "config"], value_hint = clap::ValueHint::FilePath)]
    script: Vec<String>,
}

/// A script with its options, ready to run.
pub(super) struct Ready {
    pub(super) host: Host,
    found: Found,
    /// Whether its value is printed.
    shows: bool,
    dashboard: Option<Arc<Dashboard>>,
    /// Whether a profile is made, and the file of its trace; empty: none.
    profile: Option<PathBuf>,
}

impl Ready {
    /// Runs it.
    pub(super) fn run(&self, printer: &Printer) -> Result<(), Box<Diagnostic>> {
        if let Some(trace) = &self.profile {
            profile::start(!trace.as_os_str().is_empty());
        }
        let live = self.dashboard.as_ref().map(|d| d.start());
        let done = match self.shows {
            true => self.host.value(&self.found.script),
            false => self.host.run(&self.found.script).map(|()| None),
        };
        // Gone before anyone says what came of it.
        drop(live);
        let shown = self.show_profile(printer);
        if let Some(text) = done? {
            printer.line(&text);
        }
        shown
    }

    /// Shows the profile, of a script that failed too: what it did until then may be why one looks.
    fn show_profile(&self, printer: &Printer) -> Result<(), Box<Diagnostic>> {
        let Some((path, profile)) = self.profile.as_ref().zip(profile::stop()) else { return Ok(()) };
        printer.error(&profile.table());
        if !path.as_os_str().is_empty() {
            let left_out = profile.write_trace(path).map_err(|e| Box::new(Diagnostic::from(&e)))?;
            let rest = if left_out > 0 { format!("; its last {left_out} calls are not in it") } else { String::new() };
            printer.error(&format!("trace in {}: open it in https://ui.perfetto.dev{rest}", path.display()));
        }
        Ok(())
    }
}

/// Runs the verb.
pub(super) fn run(args: Args, printer: &Arc<Printer>) -> Exit {
    let order = match Order::given() {
        Ok(order) => order,
        Err(e) => return fail(printer, &Diagnostic::from(&e)),
    };
    let mut words = args.script.iter().skip(1).take_while(|w| *w != "--");
    if order.is_none() && (args.watch || words.any(|w| w == "--watch" || w == "--watch=true")) {
        return watch::run(&args, printer);
    }
    if order.is_some() {
        worker::follow();
    }
    match prepare(&args, printer, &mut Vec::new(), order) {
        Ok(Some(ready)) => match ready.run(printer) {
            Ok(()) => Exit::Success,
            Err(diagnostic) => fail(printer, &diagnostic),
        },
        Ok(None) => Exit::Success,
        Err(diagnostic) => fail(printer, &diagnostic),
    }
}

/// The script's name, which `-e` has none of, and the words behind it.
fn named(args: &Args) -> Result<(Option<String>, &[String]), Box<Diagnostic>> {
    if args.eval.is_some() {
        return Ok((None, &args.script));
    }
    let option = |word: &str| word.starts_with('-') && word != "-";
    if let Some((name, words)) = args.script.split_first().filter(|(name, _)| !option(name)) {
        return Ok((Some(name.clone()), words));
    }
    // Options alone: a settings file says of which script.
    let files: Vec<String> = args.config.iter().cloned().chain(settings::named_in(&args.script)).collect();
    for file in files.iter().rev() {
        if let Some(script) = settings::File::read(file)?.run_by()?.script {
            return Ok((Some(script), &args.script));
        }
    }
    Err(match (files.last(), args.script.first()) {
        (Some(file), _) => Box::new(
            Diagnostic::new("usage", format!("{file} does not say which script it is for"))
                .with_help(format!("name the script: `host run SCRIPT --config {file}`")),
        ),
        (None, Some(word)) => unknown_host_flag(word),
        (None, None) => {
            Box::new(Diagnostic::new("usage", "no script was named").with_help("`host ls` lists the recipes"))
        }
    })
}

/// A host with the script's options, or `None` if help was asked for and given; adds to `files` what all this depends on,
/// as far as it came.
pub(super) fn prepare(
    args: &Args,
    printer: &Arc<Printer>,
    files: &mut Vec<PathBuf>,
    order: Option<Order>,
) -> Result<Option<Ready>, Box<Diagnostic>> {
    files.extend(args.config.iter().map(PathBuf::from));
    let (name, words) = named(args)?;
    files.extend(name.iter().map(PathBuf::from).filter(|p| p.extension().is_some()));
    let found = match (&args.eval, &name) {
        (Some(text), _) => Found::text("-e", text.clone()),
        (None, name) => recipes::find(name.as_deref().unwrap_or_default())?,
    };
    files.extend(found.files());
    let declared = found.declared()?;
    let flags = HostFlags {
        device: args.device.clone(),
        resume: args.resume,
        quiet: args.quiet,
        threads: args.threads.map(usize::from),
        sandbox: args.sandbox.clone().flags()?,
        config: args.config.clone(),
        set: args.set.clone(),
        watch: args.watch,
        no_check: args.no_check,
        dashboard: args.dashboard,
        profile: args.profile.clone(),
        interactive: args.interactive,
        break_on_nan: args.break_on.is_some(),
    };
    let mut given = declared.parse(words, flags)?;
    let threads = given.host.threads;
    if order.is_some() {
        worker::plain(&mut given.host);
    }
    if given.help {
        printer.line(&declared.help(name.as_deref().unwrap_or("-e TEXT")));
        return Ok(None);
    }
    if given.host.watch && found.origin == Origin::Text && args.eval.is_none() {
        let message = "standard input can be read only once: there is nothing to watch";
        return Err(Box::new(Diagnostic::new("usage", message).with_help("save the script and name the file")));
    }
    if given.host.watch && given.host.sandbox.timeout.is_some() {
        let message = "--timeout ends the process, and --watch keeps it: they do not go together";
        return Err(Box::new(Diagnostic::new("usage", message)));
    }
    files.extend(given.host.config.iter().map(PathBuf::from));
    files.extend(given.texts().into_iter().map(PathBuf::from).filter(|p| p.is_file()));
    if given.host.dashboard && (given.host.interactive || given.host.break_on_nan || given.host.watch) {
        let message =
            "--dashboard takes the whole screen, where --interactive, --break-on and --watch need a part of it";
        return Err(Box::new(Diagnostic::new("usage", message)));
    }
    let shown = if given.host.dashboard && !given.host.quiet {
        Dashboard::new(printer, name.as_deref().unwrap_or("-e"))
    } else {
        None
    };
    let output: Arc<dyn Output> = match &shown {
        Some(dashboard) => dashboard.clone(),
        None => printer.clone(),
    };
    let mut ctx = HostContext::new(output.clone());
    // Whoever typed the text itself has seen what is run.
    ctx.access = if args.eval.is_some() { Access::everything() } else { sandbox::access(&given) };
    settle(&mut ctx, &given.host, printer)?;
    let by = RunBy {
        script: name.filter(|_| found.origin != Origin::Text),
        script_crc32: Some(settings::fingerprint(&found.script.text)),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        device: Some(device::name(&ctx.device)),
        threads,
        args: given.args.clone(),
    };
    note_differences(&given, &by, printer);
    ctx.settings = Some(declared.settings_toml(&given, &by));
    ctx.options = given.options;
    ctx.args = given.args;
    ctx.folder.clone_from(&found.folder);
    if order.is_none() {
        signals::install(&output, signals::Insisting::Leaves);
        // Standard input has been read, and cannot be once more.
        let repeatable = found.origin != Origin::Text || args.eval.is_some();
        ctx.launcher = if repeatable { Launcher::again(std::env::args_os().skip(1).collect()) } else { None };
    }
    ctx.order = order;
    let ctx = Arc::new(ctx);
    let mut host = Host::new(&ctx, found.folder.as_deref());
    if ctx.pausable {
        host.attach(Arc::new(PausePrompt::new(ctx, reporter(printer))));
    }
    if !given.host.no_check && args.eval.is_none() {
        let checked = check::before_run(&host, &found, printer);
        files.extend(host.files());
        checked?;
    }
    let profile = given.host.profile.map(PathBuf::from);
    Ok(Some(Ready { host, found, shows: args.eval.is_some(), dashboard: shown, profile }))
}

/// Says what has changed since the run whose settings are used again, and will keep it from being the same.
fn note_differences(given: &Given, now: &RunBy, printer: &Printer) {
    let then = &given.by;
    if then.script == now.script && then.script_crc32.is_some() && then.script_crc32 != now.script_crc32 {
        let name = now.script.as_deref().unwrap_or_default();
        printer.note(&format!("{name} has changed since the run of these settings: it may not come out the same"));
    }
    if let (Some(old), Some(new)) = (&then.version, &now.version)
        && old != new
    {
        printer.note(&format!("these settings are of a run of host {old}; this is host {new}"));
    }
}

/// Puts the host's own settings into effect.
pub(super) fn settle(ctx: &mut HostContext, flags: &HostFlags, printer: &Arc<Printer>) -> Result<(), Box<Diagnostic>> {
    printer.set_quiet(flags.quiet);
    if let Some(threads) = flags.threads {
        set_threads(threads);
    }
    super::limits::start(&flags.sandbox, printer);
    ctx.max_ops = flags.sandbox.max_ops.unwrap_or(0);
    // Whoever is to be told of a bad number is asked about it.
    ctx.pausable = flags.interactive || flags.break_on_nan;
    pause::watch_numbers(flags.break_on_nan);
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
