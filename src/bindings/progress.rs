//! Progress of a script's own loops.
//!
//! ```rhai
//! let p = progress(steps, "training");
//! for step in 0..steps { .. p.update(step + 1, #{ loss: loss.item() }); }
//! p.finish();
//! ```

use super::{Context, ScriptResult, registration::function};
use crate::engine::{
    Error,
    progress::{Progress, Unit},
};
use rhai::{Dynamic, Engine, FLOAT, INT, Map};
use std::sync::Arc;

/// A bar on a terminal, plain lines elsewhere; see [`crate::engine::progress`].
#[derive(Clone)]
struct Bar(Arc<dyn Progress>);

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    engine.register_type_with_name::<Bar>("Progress");

    let c = ctx.clone();
    function("progress", ["total: int", "label: string", "Progress"]).register_into_engine(
        engine,
        move |total: INT, label: &str| -> ScriptResult<Bar> {
            Ok(Bar(Arc::from(c.output.start(count("total", total)?, label, Unit::Items))))
        },
    );
    function("update", ["bar: Progress", "done: int"])
        .register_into_engine(engine, |bar: &mut Bar, done: INT| update(bar, done, &Map::new()));
    function("update", ["bar: Progress", "done: int", "metrics: Map"])
        .register_into_engine(engine, |bar: &mut Bar, done: INT, metrics: Map| update(bar, done, &metrics));
    function("finish", ["bar: Progress"]).register_into_engine(engine, |bar: &mut Bar| bar.0.finish());
}

fn update(bar: &Bar, done: INT, metrics: &Map) -> ScriptResult<()> {
    let metrics: Vec<_> = metrics.iter().map(|(name, value)| (name.to_string(), metric(value))).collect();
    bar.0.update(count("done", done)?, &metrics);
    Ok(())
}

fn count(what: &str, n: INT) -> Result<u64, Error> {
    u64::try_from(n).map_err(|_| Error::config(format!("progress: `{what}` is {n}; it counts steps, so 0 or more")))
}

/// Four significant digits: enough to see a loss move, short enough to stay on one line.
fn metric(value: &Dynamic) -> String {
    match value.as_float() {
        Ok(x) => number(x),
        Err(_) => value.to_string(),
    }
}

fn number(x: FLOAT) -> String {
    if x == 0.0 || (1e-3..1e5).contains(&x.abs()) {
        let before = if x.abs() < 1.0 { 0 } else { x.abs().log10() as usize };
        format!("{x:.*}", 4usize.saturating_sub(before + 1).max(usize::from(x.abs() < 1e3)))
    } else {
        format!("{x:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the readability of the metrics behind a bar.
    #[test]
    fn numbers_are_short() {
        let shown: Vec<_> = [0.0, 0.5, 1.23456, 12.3456, 1234.56, 1e-4, 3.2e9, f64::NAN].map(number).into();
        assert_eq!(shown, ["0.000", "0.500", "1.235", "12.35", "1235", "1.00e-4", "3.20e9", "NaN"]);
    }
}
