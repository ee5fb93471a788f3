//! What a script asks its host: options, arguments, device, memory, time, version.

use super::registration::function;
use super::{Context, ScriptResult};
use crate::engine::{device, interrupt, memory};
use rhai::{Array, Dynamic, Engine, FLOAT, INT, Map};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    function("options", ["Map"]).register_into_engine(engine, move || c.options.clone());

    let c = ctx.clone();
    function("args", ["Array"])
        .register_into_engine(engine, move || c.args.iter().map(|a| Dynamic::from(a.clone())).collect::<Array>());

    let c = ctx.clone();
    function("resuming", ["bool"]).register_into_engine(engine, move || c.resuming);

    let c = ctx.clone();
    function("recipe_dir", ["string"]).register_into_engine(engine, move || match &c.folder {
        Some(folder) => folder.display().to_string(),
        None => ".".to_string(),
    });

    let c = ctx.clone();
    function("write", ["text: string"]).register_into_engine(engine, move |text: &str| c.output.text(text));

    let c = ctx.clone();
    function("note", ["text: string"]).register_into_engine(engine, move |text: &str| c.output.note(text));

    let c = ctx.clone();
    function("device", ["string"]).register_into_engine(engine, move || device::name(&c.device));
    function("devices", ["Array"])
        .register_into_engine(engine, || device::all().into_iter().map(Dynamic::from).collect::<Array>());
    function("threads", ["int"]).register_into_engine(engine, || rayon::current_num_threads() as INT);
    function("memory", ["Map"]).register_into_engine(engine, usage);
    function("reset_peak_memory", []).register_into_engine(engine, memory::reset_peak);
    function("now", ["float"]).register_into_engine(engine, now);
    function("sleep", ["seconds: float"]).register_into_engine(engine, sleep);
    function("sleep", ["seconds: int"]).register_into_engine(engine, |seconds: INT| sleep(seconds as FLOAT));
    function("version", ["string"]).register_into_engine(engine, || env!("CARGO_PKG_VERSION"));
}

fn usage() -> Map {
    let free = memory::free().map_or(Dynamic::UNIT, |bytes| Dynamic::from(bytes as FLOAT / MIB));
    Map::from([
        ("free_mib".into(), free),
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
