//! The numbers behind the figures: series read from the log, smoothed, and thinned to what a figure can show.

use super::log::{self, Fields};
use super::number::from_json;
use crate::engine::Result;
use serde_json::Value;
use std::path::Path;

pub use crate::engine::figure::series::{Point, smooth, smoothing_alpha, stretches, thin};

/// One closed epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// The step after which it began.
    pub from: f64,
    /// Its last step.
    pub to: f64,
    /// Mean training loss over its label tokens.
    pub train_loss: Option<f64>,
}

/// Every series of a run, by optimizer step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Training loss of each step.
    pub loss: Vec<Point>,
    /// Validation losses, from whatever lines they were logged on.
    pub val_loss: Vec<Point>,
    /// Learning rate of each step.
    pub lr: Vec<Point>,
    /// Gradient norm of each step, before clipping.
    pub grad_norm: Vec<Point>,
    /// Loss scale of each step, where half precision was trained with one.
    pub loss_scale: Vec<Point>,
    /// The closed epochs, in order.
    pub epochs: Vec<Epoch>,
}

/// No run has more steps: a larger number is a damaged line, and the axis of a figure could not hold it.
pub const MAX_STEP: u64 = 1_000_000_000_000;

impl Curve {
    /// The series of the log at `path`.
    pub fn read(path: &Path) -> Result<Curve> {
        Ok(Curve::from_log(&log::read(path)?))
    }

    /// The series of log lines. Damaged lines (a step beyond [`MAX_STEP`]), lines and fields that are not known are
    /// passed over.
    pub fn from_log(lines: &[Fields]) -> Curve {
        let mut curve = Curve::default();
        for line in lines {
            let Some(step) = line.get("step").and_then(Value::as_u64).filter(|step| *step <= MAX_STEP) else {
                continue;
            };
            let step = step as f64;
            let kind = line.get("kind").and_then(Value::as_str);
            let add = |series: &mut Vec<Point>, name: &str| {
                if let Some(value) = line.get(name).and_then(from_json) {
                    series.push((step, value));
                }
            };
            add(&mut curve.val_loss, "val_loss");
            if kind == Some("step") {
                add(&mut curve.loss, "loss");
                add(&mut curve.lr, "lr");
                add(&mut curve.grad_norm, "grad_norm");
                add(&mut curve.loss_scale, "loss_scale");
            }
            if kind == Some("epoch") {
                curve.epochs.push(Epoch {
                    epoch: line.get("epoch").and_then(Value::as_u64).unwrap_or(0),
                    from: curve.epochs.last().map_or(0.0, |e| e.to),
                    to: step,
                    train_loss: line.get("train_loss").and_then(from_json),
                });
            }
        }
        curve
    }

    /// Whether anything was logged of the optimizer.
    pub fn has_optimizer(&self) -> bool {
        !(self.lr.is_empty() && self.grad_norm.is_empty() && self.loss_scale.is_empty())
    }

    /// The lowest validation loss, and the first step that had it.
    pub fn best(&self) -> Option<Point> {
        self.val_loss.iter().copied().filter(|p| p.1.is_finite()).reduce(|best, p| if p.1 < best.1 { p } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(values: Value) -> Vec<Fields> {
        serde_json::from_value(values).unwrap()
    }

    /// Protects the figures: each series from its own lines, epochs as spans, a NaN as a gap.
    #[test]
    fn series_of_a_log() {
        let curve = Curve::from_log(&lines(json!([
            {"kind": "eval", "step": 0, "val_loss": 4.0},
            {"kind": "step", "step": 1, "loss": 3.0, "lr": 0.1, "grad_norm": "Infinity"},
            {"kind": "step", "step": 2, "loss": "NaN", "lr": 0.2},
            {"kind": "epoch", "epoch": 1, "step": 2, "train_loss": 3.0, "val_loss": 2.0},
            {"kind": "step", "step": 3, "loss": null},
            {"kind": "other"},
            {"kind": "epoch", "epoch": 2, "step": 3, "train_loss": null},
        ])));
        assert_eq!(curve.val_loss, [(0.0, 4.0), (2.0, 2.0)]);
        assert_eq!((curve.loss.len(), curve.loss[1].1.is_nan(), curve.lr.len()), (2, true, 2));
        assert_eq!(curve.grad_norm, [(1.0, f64::INFINITY)]);
        assert_eq!(curve.epochs[1], Epoch { epoch: 2, from: 2.0, to: 3.0, train_loss: None });
    }
}
