//! A run as a session shows it: where it is, and its losses as a curve.

use super::Context;
use super::runs::RunHandle;
use crate::engine::run::{LOG_FILE, chart::chart, curve::Curve};
use rhai::Engine;

/// Rows of the curve.
const HEIGHT: usize = 14;

pub(super) fn register(engine: &mut Engine, ctx: &Context) {
    let c = ctx.clone();
    engine.register_fn("to_debug", move |r: &mut RunHandle| {
        let curve = r.chart(c.output.screen().width).map_or(String::new(), |chart| format!("\n{chart}"));
        format!("{}{curve}", r.summary())
    });
}

impl RunHandle {
    /// `Run(runs/finetune, step 12)`
    pub(super) fn summary(&self) -> String {
        let open = self.lock();
        format!("Run({}, step {})", open.run.dir().display(), open.run.step())
    }

    /// The run's losses so far as a curve on `width` columns; `None` while nothing was logged.
    pub fn chart(&self, width: usize) -> Option<String> {
        let log = self.lock().run.dir().join(LOG_FILE);
        // A log that cannot be read is no reason to hide the rest.
        let curve = Curve::read(&log).ok()?;
        let lines = chart(&curve.loss, &curve.val_loss, width.min(100), HEIGHT);
        let newest = |points: &[(f64, f64)]| points.last().map(|p| format!("{:.4}", p.1));
        let train = newest(&curve.loss).map(|x| format!("loss {x}"));
        let held_out = newest(&curve.val_loss).map(|x| format!("◆ validation {x}"));
        let legend: Vec<String> = train.into_iter().chain(held_out).collect();
        (!lines.is_empty()).then(|| format!("{}, by optimizer step\n{}", legend.join("   "), lines.join("\n")))
    }
}
