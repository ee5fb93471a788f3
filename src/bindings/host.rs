//! What a script asks its host: options, arguments, device, memory, time, version.

use super::{Context, ScriptResult};
use crate::engine::{device, interrupt, memory};
use rhai::{Array, Dynamic, Engine, FLOAT, FuncRegistration, INT, Map};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    let doc = ["/// The script's declared `OPTIONS`, with the values given on the command line."];
    function("options", ["Map"], doc).register_into_engine(engine, move || c.options.clone());

    let c = ctx.clone();
    let doc = ["/// The arguments after the script's name that are no options, as strings."];
    function("args", ["Array"], doc)
        .register_into_engine(engine, move || c.args.iter().map(|a| Dynamic::from(a.clone())).collect::<Array>());

    let c = ctx.clone();
    let doc = ["/// Whether `--resume` was given: continue the saved run instead of starting anew."];
    function("resuming", ["bool"], doc).register_into_engine(engine, move || c.resuming);

    let c = ctx.clone();
    let doc = ["/// Prints `text` without a line break, at once: for text that comes in pieces."];
    function("write", ["text: string"], doc).register_into_engine(engine, move |text: &str| c.output.text(text));

    let c = ctx.clone();
    let doc = ["/// Prints `text` to standard error: remarks about the run. Silent under `--quiet`."];
    function("note", ["text: string"], doc).register_into_engine(engine, move |text: &str| c.output.note(text));

    let c = ctx.clone();
    let doc = ["/// The device that tensors and models go to unless told otherwise: `\"cpu\"`, `\"cuda:0\"`."];
    function("device", ["string"], doc).register_into_engine(engine, move || device::name(&c.device));

    let doc = [
        "/// The devices that can be used, by name: `\"cpu\"`, then each GPU, `\"cuda:0\"`, ..",
        "///",
        "/// # Example",
        "/// ```rhai",
        "/// let on = if \"cuda:0\" in devices() { \"cuda:0\" } else { \"cpu\" };",
        "/// let model = llama::load(\"builtin:stories260K\", #{ device: on });",
        "/// ```",
    ];
    function("devices", ["Array"], doc)
        .register_into_engine(engine, || device::all().into_iter().map(Dynamic::from).collect::<Array>());

    let doc = ["/// Heap memory in use now and at its peak, in MiB: `#{ current_mib, peak_mib }`."];
    function("memory", ["Map"], doc).register_into_engine(engine, usage);

    let doc = ["/// Starts a new peak measurement from the memory in use now."];
    function("reset_peak_memory", [], doc).register_into_engine(engine, memory::reset_peak);

    let doc = ["/// Seconds since 1970-01-01 UTC, with fractions: subtract two to time something."];
    function("now", ["float"], doc).register_into_engine(engine, now);

    let doc = ["/// Waits for `seconds`; Ctrl-C and `--timeout` end it."];
    function("sleep", ["seconds: float"], doc).register_into_engine(engine, sleep);
    function("sleep", ["seconds: int"], doc).register_into_engine(engine, |seconds: INT| sleep(seconds as FLOAT));

    let doc = ["/// The host's version, e.g. `\"0.1.0\"`."];
    function("version", ["string"], doc).register_into_engine(engine, || env!("CARGO_PKG_VERSION"));
}

/// A documented function that reads the world, so that the optimizer never folds it: `params` are its parameters as
/// `name: type`, then its return type.
pub(super) fn function<const P: usize, const D: usize>(
    name: &str,
    params: [&str; P],
    doc: [&str; D],
) -> FuncRegistration {
    FuncRegistration::new(name).in_global_namespace().with_volatility(true).with_params_info(params).with_comments(doc)
}

fn usage() -> Map {
    Map::from([
        ("current_mib".into(), Dynamic::from(memory::current() as FLOAT / MIB)),
        ("peak_mib".into(), Dynamic::from(memory::peak() as FLOAT / MIB)),
    ])
}

/// Rhai's own cannot be interrupted.
fn sleep(seconds: FLOAT) -> ScriptResult<()> {
    // What is negative or not a number is no time; what no clock holds is for ever.
    let whole =
        Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 { Duration::MAX } else { Duration::ZERO });
    let start = Instant::now();
    while let Some(left) = whole.checked_sub(start.elapsed()).filter(|d| !d.is_zero()) {
        interrupt::poll_any()?;
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
    Ok(())
}

fn now() -> FLOAT {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
